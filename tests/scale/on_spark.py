"""Checks examples/spark/segment.py on `local[CORES,4]`: rates, a killed Python worker, a killed driver.

    pip install wheels/candle_deeplab-*.whl "pyspark==4.*" pyarrow "pandas<3" pillow
    python tests/scale/on_spark.py PROGRAM [--images 500] [--rounds 3]

PROGRAM is the candle-deeplab program. Every label map must be equal to what `PROGRAM segment --format mask` writes. Spark uses
as many cores as this process may use (`taskset` chooses them). The 4 is how often a task may fail: `local[2]` gives up at once.
"""

import os
import sys

from common import CORES, ROOT, Checks, main


def command(images, output):
    options = ["--conf", f"spark.master=local[{CORES},4]", "--conf", "spark.ui.enabled=false"]
    os.environ["PYSPARK_SUBMIT_ARGS"] = " ".join([*options, "pyspark-shell"])
    os.environ["PYSPARK_PYTHON"] = sys.executable
    return [sys.executable, ROOT / "examples/spark/segment.py", images, output]


def is_worker(line):
    return "pyspark.daemon" in line or "pyspark.worker" in line


if __name__ == "__main__":
    main(__doc__, Checks("Spark", command, is_worker))
