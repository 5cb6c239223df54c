"""Checks examples/ray/segment.py: rates, a killed actor, a killed driver, Parquet in and out.

    pip install wheels/candle_deeplab-*.whl "ray[data]==2.60.*" pillow
    python tests/scale/on_ray.py PROGRAM [--images 500] [--rounds 3]

PROGRAM is the candle-deeplab program. Every label map must be equal to what `PROGRAM segment --format mask` writes, and every
row to `--format rle`. The cluster has the cores of this machine that this process may use (`taskset` chooses them), and
outlives the drivers, so that only Ray itself can end a dead driver's actors.
"""

import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from common import CORES, ROOT, Checks, Run, check, contents, main

EXAMPLE = ROOT / "examples/ray/segment.py"
TABLES = 4


def command(images, output, *flags):
    return [sys.executable, EXAMPLE, images, output, "--address", ray.get_runtime_context().gcs_address, "--batch", 16, *flags]


def is_actor(line):
    return "ray::" in line and "MapBatches(Segment)" in line


def rows(output):
    """The rows of all Parquet files: an image, its size, and pairs of a class and its run lengths."""
    found = [row for file in output.glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    classes = lambda row: [(entry["category_id"], entry["counts"]) for entry in row["rle"]]
    return [(row["image"], [row["height"], row["width"]], classes(row)) for row in found]


def parquet(folder, names):
    """The same images in Parquet files, and run lengths in Parquet files out, with a driver that dies."""
    tables, output = folder / "tables", folder / "labels"
    tables.mkdir()
    for part in range(TABLES):
        some = names[part::TABLES]
        table = {"path": some, "bytes": [(folder / "images" / name).read_bytes() for name in some]}
        pq.write_table(pa.table(table), tables / f"{part}.parquet", row_group_size=50)

    masks = folder / "masks of tables"
    Run(command(tables, masks)).finished()
    check(contents(masks, ".mask.png") == contents(folder / "program", ".mask.png"), "Parquet in: label maps are the program's")

    run = Run(command(tables, output, "--format", "parquet"))
    run.until(output, max(1, len(names) // 16 // 3), ".parquet")
    run.kill()
    # At once: what the dead driver's actors still write must not be written again.
    run = Run(command(tables, output, "--format", "parquet")).finished()
    there = run.number("of them already there")
    check(there > 0, f"the driver was killed, and {there} rows are there")
    found = rows(output)
    check(len(found) == len({name for name, _, _ in found}) == len(names) - 1, f"{len(found)} rows, each image once")
    for name, size, classes in found:
        stem = name if name.startswith("same.") else name.rsplit(".", 1)[0]
        wanted = json.loads((folder / "program" / f"{stem}.rle.json").read_text())
        right = classes == [(entry["category_id"], entry["segmentation"]["counts"]) for entry in wanted]
        if not right or any(entry["segmentation"]["size"] != size for entry in wanted):
            sys.exit(f"failed: the run lengths of {name} are not the program's")
    check(True, "run lengths are the program's")


if __name__ == "__main__":
    if "-h" not in sys.argv and "--help" not in sys.argv:
        ray.init("local", num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    main(__doc__, Checks("Ray", command, is_actor, root=os.getpid()), parquet)
