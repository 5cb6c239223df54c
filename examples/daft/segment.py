"""Segments a folder of images, or Parquet files with the columns `path` and `bytes`, with Daft.

    pip install wheels/candle_deeplab-*.whl daft
    python segment.py photos masks    # photos/sub/a.jpg becomes masks/sub/a.mask.png, as `candle-deeplab segment` has it

Outputs are written beside their targets and renamed, and images whose output is there are left out: what dies costs the
images that it was at, and the same command computes the rest.
"""

import os
import pathlib
import re
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import daft

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
# Outputs of `segment` are no inputs.
OURS = re.compile(r"\.(overlay|mask|ids|color|contours|cutout)\.\w+$")


class Segment:
    """A process with a model: images, or where they lie, become files. Gives each image's result."""

    def __init__(self):
        import candle_deeplab
        self.model, self.refused = candle_deeplab.load(device="cpu", threads=1), candle_deeplab.ImageError

    @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=16)
    def __call__(self, images, targets):
        with ThreadPoolExecutor(2) as threads:  # While one image is computed, another is read or written.
            return list(threads.map(self.one, images, map(pathlib.Path, targets)))

    def one(self, image, target):
        if target.exists():  # Another process was at it when Daft gave up.
            return "segmented"
        if image is None:
            return "it has no bytes"
        unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}.incomplete")
        try:
            mask = self.model.segment(image if isinstance(image, bytes) else pathlib.Path(image).read_bytes()).mask()
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "xb") as file:
                file.write(mask)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, target)
            return "segmented"
        except (self.refused, OSError) as error:
            return f"{error}"


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


def main(images, output, tries=3):
    images, output = pathlib.Path(images).resolve(), pathlib.Path(output).resolve()
    files = visible(images)
    tables = None if files else daft.read_parquet(str(images)).select("path", daft.col("bytes").alias("image"))
    names = files or tables.select("path").to_pydict()["path"]
    if len(set(names)) < len(names):
        sys.exit(f"an image's name is in `{images}` twice: `{Counter(names).most_common(1)[0][0]}`")
    if any(name.startswith("/") or ".." in name.split("/") for name in names):
        sys.exit(f"a path in `{images}` leads out of `{output}`")
    targets = {name: output / f"{stem}.mask.png" for name, stem in stems(names).items()}
    left = {name: target for name, target in targets.items() if not target.exists()}
    print(f"{len(names)} images, {len(names) - len(left)} of them already there", flush=True)
    if not left:
        return 0
    work = {"path": list(left), "target": list(map(str, left.values())), "image": [f"{images}/{name}" for name in left]}
    work = daft.from_pydict(work) if files else daft.from_pydict(work).exclude("image").join(tables, on="path")
    segment = daft.cls(Segment, max_concurrency=len(os.sched_getaffinity(0)), use_process=True)()
    try:
        results = work.select("path", segment(daft.col("image"), daft.col("target")).alias("result")).to_pydict()
    except RuntimeError:  # A process died, and Daft starts no other.
        if tries == 1:
            raise
        return main(images, output, tries - 1)
    failed = {name: result for name, result in zip(*results.values()) if result != "segmented"}
    sys.stderr.writelines(f"error: {name}: {result}\n" for name, result in failed.items())
    print(f"{len(left) - len(failed)} segmented, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
