"""Checks examples/daft/segment.py: rates, a killed worker, a killed driver.

    pip install wheels/candle_deeplab-*.whl "daft==0.7.*" pillow
    python tests/scale/on_daft.py PROGRAM [--images 500] [--rounds 3]

PROGRAM is the candle-deeplab program. Every label map must be equal to what `PROGRAM segment --format mask` writes. Daft uses
the cores that this process may use (`taskset` chooses them).
"""

import sys

from common import CORES, ROOT, Checks, main


def command(images, output):
    return [sys.executable, ROOT / "examples/daft/segment.py", images, output]


def is_worker(line):
    return "daft.execution.udf_worker" in line


if __name__ == "__main__":
    # When Daft gives up, the other processes end their images, while their successors may have begun with the same ones.
    main(__doc__, Checks("Daft", command, is_worker, again=2 * CORES))
