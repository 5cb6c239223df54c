"""Segments a folder of images, or images in Parquet files, with Ray Data.

    pip install wheels/candle_deeplab-*.whl "ray[data]"
    python segment.py photos masks                     # photos/sub/a.jpg becomes masks/sub/a.mask.png
    python segment.py photos labels --format parquet   # a row for each image, with run lengths as COCO has them
    python segment.py photos.parquet masks --name-column path --bytes-column bytes

Each actor holds a model, and there are as many actors as the cluster has room for. All nodes must see the folders.

An output is written beside its target and renamed, and an image whose output is there is left out. An actor that dies
therefore costs the images that it was at, and after the driver has died the same command computes only the rest. Label maps
and their names are those of `candle-deeplab segment --format mask`. The exit code is 1 if images failed.
"""

import argparse
import functools
import hashlib
import math
import os
import pathlib
import re
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import ray

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
# Outputs of `segment` are no inputs.
OURS = re.compile(r"\.(overlay|mask|ids|color|contours|cutout)\.\w+$")

# An actor asks Ray for this share of its CPUs. If actors had all CPUs, no task that reads could be scheduled, and Ray would
# wait for ever without saying so.
SHARE = 0.9
# What a task that reads asks for: it waits for storage more than it computes.
READER_CPUS = 0.1
# Bytes of images from which on readers hand them to actors.
BLOCK = 1 << 20
# Tasks that read; more would only be more to keep account of.
MOST_READERS = 10_000

SEGMENTED, THERE = "segmented", "already there"


def stems(names):
    """Names of outputs without `.mask.png`: a.jpg becomes a, but beside a.png both keep their extensions."""
    found = {name: str(pathlib.PurePosixPath(name).with_suffix("")) for name in names}
    while True:
        counts = Counter(found.values())
        shared = [name for name in names if found[name] != name and counts[found[name]] > 1]
        if not shared:  # A name that keeps its extension may be like another: a.jpg, a.png and a.jpg.bmp.
            return found
        found.update((name, name) for name in shared)


def write(path, content):
    """Writes a file whole or not at all, also if the machine fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.incomplete")
    with open(unfinished, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


class Masks:
    """A PNG file for each image."""

    def __init__(self, folder, names):
        self.folder, self.stems = folder, stems(names)

    def target(self, name):
        return self.folder / f"{self.stems[name]}.mask.png"

    def done(self, names):
        return {name for name in names if self.target(name).exists()}

    # Of a batch whose actor died, some images are there.
    begin = done

    def add(self, name, segmentation):
        write(self.target(name), segmentation.mask())

    def end(self):
        pass


class RunLengths:
    """A Parquet file for each batch, with a row for each image."""

    CLASS = pa.struct({"category_id": pa.uint8(), "category_name": pa.string(), "counts": pa.string()})
    SCHEMA = pa.schema({"image": pa.string(), "height": pa.int32(), "width": pa.int32(), "rle": pa.list_(CLASS)})

    def __init__(self, folder, names):
        self.folder = folder

    def done(self, names):
        parts = self.folder.glob("*.parquet")
        return {name for part in parts for name in pq.read_table(part, columns=["image"])["image"].to_pylist()}

    def begin(self, names):
        # The same batch always has the same file.
        self.part = self.folder / f"part-{hashlib.sha256(repr(names).encode()).hexdigest()[:32]}.parquet"
        self.rows = []
        # An actor that died after writing it: images that failed are not in it, and are tried again.
        return set(pq.read_table(self.part, columns=["image"])["image"].to_pylist()) if self.part.exists() else set()

    def add(self, name, segmentation):
        width, height = segmentation.size
        rle = [{**entry, "counts": entry["segmentation"]["counts"]} for entry in segmentation.rle()]
        self.rows.append({"image": name, "height": height, "width": width, "rle": rle})

    def end(self):
        if self.rows and not self.part.exists():
            rows = sorted(self.rows, key=lambda row: row["image"])
            content = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(rows, self.SCHEMA), content, compression="zstd")
            write(self.part, content.getvalue())


class Segment:
    """An actor: a model, and what it does with a batch of images."""

    def __init__(self, outputs, model, options):
        import candle_deeplab

        self.outputs, self.refused = outputs, candle_deeplab.ImageError
        self.model = candle_deeplab.load(model, **options)

    def __call__(self, batch):
        images = dict(zip(batch["name"].to_pylist(), batch["bytes"].to_pylist()))
        there = self.outputs.begin(list(images))
        # While one image is computed, another is written.
        with ThreadPoolExecutor(2) as threads:
            results = list(threads.map(lambda image: self.one(*image, there), images.items()))
        self.outputs.end()
        return pa.table({"name": list(images), "result": results})

    def one(self, name, content, there):
        if name in there:
            return THERE
        if content is None:
            return "it cannot be read"
        try:
            segmentation = self.model.segment(content)
        except self.refused as error:
            return str(error)
        self.outputs.add(name, segmentation)
        return SEGMENTED


class Folder:
    """The images in a folder and the folders in it, without hidden files."""

    def __init__(self, folder):
        self.folder = folder
        files = (file.relative_to(folder) for file in folder.rglob("*") if file.suffix.lower() in IMAGES and file.is_file())
        visible = (file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts))
        self.names = sorted(name for name in visible if not OURS.search(name))

    def work(self, done, batch):
        left = [name for name in self.names if name not in done]
        return [{"names": left[start : start + batch]} for start in range(0, len(left), batch)]

    def reader(self, batch):
        return functools.partial(read_files, folder=self.folder)


class Tables:
    """The images in Parquet files, which are read by their row groups."""

    def __init__(self, path, columns):
        self.columns = columns
        self.groups = []
        for table in [path] if path.is_file() else sorted(path.rglob("*.parquet")):
            with pq.ParquetFile(table) as file:
                for group in range(file.num_row_groups):
                    self.groups.append((str(table), group, file.read_row_group(group, columns[:1])[columns[0]].to_pylist()))
        self.names = [name for *_, names in self.groups for name in names]
        for name in self.names:
            if name.startswith("/") or ".." in name.split("/"):
                sys.exit(f"`{name}` leads out of the folder for outputs: let `{columns[0]}` hold relative paths")

    def work(self, done, batch):
        rows = lambda names: [row for row, name in enumerate(names) if name not in done]
        return [{"table": t, "group": g, "rows": rows(names)} for t, g, names in self.groups if not done.issuperset(names)]

    def reader(self, batch):
        return functools.partial(read_rows, columns=self.columns, batch=batch)


def read_files(work, folder):
    """A task that reads: files become tables with the columns `name` and `bytes`."""
    for names in work["names"].to_pylist():
        yield pa.table({"name": names, "bytes": pa.array((content(folder / name) for name in names), pa.binary())})


def content(file):
    try:
        return file.read_bytes()
    except OSError:
        return None


def read_rows(work, columns, batch):
    """A task that reads: rows of Parquet files become tables with the columns `name` and `bytes`."""
    for part in work.to_pylist():
        rows, row = set(part["rows"]), 0
        with pq.ParquetFile(part["table"]) as file:
            # A row group may be larger than the memory.
            for some in file.iter_batches(batch, row_groups=[part["group"]], columns=columns):
                wanted = pa.array([row + i in rows for i in range(len(some))])
                row += len(some)
                yield pa.table(some.filter(wanted)).select(columns).rename_columns(["name", "bytes"])


def cluster_actors(cpus, gpus):
    """How many actors the nodes have room for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = lambda node: min(node.get("CPU", 0) / cpus, node.get("GPU", 0) / gpus if gpus else math.inf)
    return sum(int(room(node)) for node in nodes)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("images", type=pathlib.Path, help="a folder of images, a Parquet file, or a folder of Parquet files")
    add("output", type=pathlib.Path, help="the folder for outputs")
    add("--format", choices=["png", "parquet"], default="png", help="label maps as PNG files, or run lengths in Parquet files")
    add("--model", help="a name that `candle-deeplab models` lists, or a path [default: the bundled model]")
    add("--name-column", default="path", help="the column of Parquet files with the images' names")
    add("--bytes-column", default="bytes", help="the column with their files' contents")
    add("--address", help="the cluster's address [default: RAY_ADDRESS, or a cluster on this machine]")
    add("--actors", type=int, help="the most actors [default: as many as the cluster has room for]")
    add("--cpus-per-actor", type=float, default=1, help="CPUs and threads of an actor")
    add("--gpus", type=float, default=0, help="GPUs of an actor, e.g. 1 or 0.5")
    add("--patience", type=float, default=600, help="seconds without a finished batch after which the run fails")
    add("--batch", type=int, default=32, help="images that an actor takes at a time; a Parquet file holds as many")
    return parser.parse_args()


def main():
    args = arguments()
    path = args.images.resolve()
    source = Folder(path)
    if not source.names:
        source = Tables(path, [args.name_column, args.bytes_column])
    if not source.names:
        sys.exit(f"there are no images in `{args.images}`")
    if len(set(source.names)) < len(source.names):
        sys.exit(f"an image's name is in `{args.images}` twice: `{Counter(source.names).most_common(1)[0][0]}`")

    ray.init(args.address)
    start = time.perf_counter()
    outputs = {"png": Masks, "parquet": RunLengths}[args.format](args.output.resolve(), source.names)
    done = outputs.done(source.names)
    work = source.work(done, args.batch)
    print(f"{len(source.names)} images, {len(done.intersection(source.names))} of them already there", flush=True)
    if not work:
        return 0
    actors = args.actors or cluster_actors(args.cpus_per_actor, args.gpus)
    if not actors:
        sys.exit(f"no node has {args.cpus_per_actor:g} CPUs and {args.gpus:g} GPUs: ask for less")

    context = ray.data.DataContext.get_current()
    # Without a limit, an image that kills each actor would do so for ever.
    context.execution_no_progress_timeout_s = args.patience
    context.target_max_block_size = BLOCK
    # Not Ray's own readers: that of Parquet files asks for a CPU to list them, whatever one says.
    images = ray.data.from_items(work, override_num_blocks=min(len(work), MOST_READERS))
    images = images.map_batches(source.reader(args.batch), batch_format="pyarrow", num_cpus=READER_CPUS)
    results = images.map_batches(
        Segment,
        fn_constructor_args=(
            outputs,
            args.model,
            {"device": "cuda" if args.gpus else "cpu", "threads": max(1, int(args.cpus_per_actor))},
        ),
        batch_format="pyarrow",
        batch_size=args.batch,
        # One batch is computed while the next waits. With fewer actors than these it goes on, too.
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=actors, initial_size=actors, max_tasks_in_flight_per_actor=2
        ),
        num_cpus=SHARE * args.cpus_per_actor,
        num_gpus=args.gpus,
    )
    counts = Counter()
    for row in results.iter_rows():
        result = row["result"]
        if result not in (SEGMENTED, THERE):
            print(f"error: {row['name']}: {result}", file=sys.stderr)
            result = "failed"
        counts[result] += 1
    took = time.perf_counter() - start
    print(", ".join(f"{count} {what}" for what, count in counts.items()), end="")
    print(f" in {took:.1f} s by up to {actors} actors: {counts[SEGMENTED] / took:.1f} images/s")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
