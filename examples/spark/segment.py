"""Segments a folder of images, or Parquet files with the columns `path` and `bytes`, with Spark.

    pip install wheels/candle_deeplab-*.whl pyspark pyarrow "pandas<3"
    spark-submit --master 'local[2,4]' segment.py photos masks    # photos/a.jpg becomes masks/a.mask.png, as `segment` has it

Outputs are written beside their targets and renamed, and images whose output is there are left out: what dies costs the
image that it was at, and after a driver's death the same command computes the rest. All nodes must see the folders.
"""

import functools
import os
import pathlib
import re
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from pyspark.sql import SparkSession, functions

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
# Outputs of `segment` are no inputs.
OURS = re.compile(r"\.(overlay|mask|ids|color|contours|cutout)\.\w+$")


def segment(batches, images, threads):
    """A task with a model: the images of batches become files. Gives each image's result."""
    import candle_deeplab
    model = candle_deeplab.load(device="cpu", threads=threads)

    def one(image):
        target = pathlib.Path(image["target"])
        if target.exists():  # A task that died got so far.
            return "already there"
        if "bytes" in image and image["bytes"] is None:
            return "it has no bytes"
        unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}.incomplete")
        try:
            mask = model.segment(image["bytes"] if "bytes" in image else (images / image["path"]).read_bytes()).mask()
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "xb") as file:
                file.write(mask)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, target)
            return "segmented"
        except (candle_deeplab.ImageError, OSError) as error:
            return f"{error}"

    for batch in map(pa.RecordBatch.to_pylist, batches):
        with ThreadPoolExecutor(2) as pool:  # While one image is computed, another is read or written.
            results = list(pool.map(one, batch))
        yield pa.RecordBatch.from_pydict({"path": [image["path"] for image in batch], "result": results})


def visible(folder):
    """The images in a folder and its folders, without hidden ones and outputs of `segment`."""
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.suffix.lower() in IMAGES and file.is_file())
    names = (file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts))
    return sorted(name for name in names if not OURS.search(name))


def stems(names):
    """Names of outputs without `.mask.png`: a.jpg becomes a, but beside a.png both keep their extensions."""
    found = {name: str(pathlib.PurePosixPath(name).with_suffix("")) for name in names}
    while True:
        counts = Counter(found.values())
        shared = [name for name in names if found[name] != name and counts[found[name]] > 1]
        if not shared:  # A name that keeps its extension may be like another: a.jpg, a.png and a.jpg.bmp.
            return found
        found.update((name, name) for name in shared)


def main(images, output):
    images, output = pathlib.Path(images).resolve(), pathlib.Path(output).resolve()
    spark = SparkSession.builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", 32).getOrCreate()
    files = visible(images)
    tables = None if files else spark.read.parquet(str(images)).select("path", "bytes")
    names = files or [row.path for row in tables.select("path").toLocalIterator()]
    if len(set(names)) < len(names):
        sys.exit(f"an image's name is in `{images}` twice: `{Counter(names).most_common(1)[0][0]}`")
    if any(name.startswith("/") or ".." in name.split("/") for name in names):
        sys.exit(f"a path in `{images}` leads out of `{output}`")
    targets = {name: output / f"{stem}.mask.png" for name, stem in stems(names).items()}
    left = [(name, str(target)) for name, target in targets.items() if not target.exists()]
    print(f"{len(names)} images, {len(names) - len(left)} of them already there", flush=True)
    if not left:
        return 0
    work = spark.createDataFrame(left, "path string, target string")
    tasks = max(spark.sparkContext.defaultParallelism, len(left) // 256)  # Each loads a model.
    work = work.repartition(tasks) if files else tables.join(functions.broadcast(work), "path")
    task = functools.partial(segment, images=images, threads=int(spark.conf.get("spark.task.cpus", "1")))
    results = work.mapInArrow(task, "path string, result string").collect()
    counts = Counter(result if result in ("segmented", "already there") else "failed" for _, result in results)
    sys.stderr.writelines(f"error: {path}: {result}\n" for path, result in results if result not in counts)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
