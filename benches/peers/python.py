"""What it takes to have a first mask in Python: our wheel beside onnxruntime and torch.

    pip install ./python onnxruntime pillow torch torchvision    # in one environment, or in one for each (--ours, …)
    python benches/peers/python.py [--ours PYTHON] [--onnxruntime PYTHON] [--torch PYTHON] [--rounds 7]

Each round starts a process for each package, in turns. The process imports the package, loads a network from a file, and finds
the classes of examples/photos/cat.jpg, decoding and resizing included. onnxruntime has our own export of the bundled model;
torch has torchvision's deeplabv3_mobilenet_v3_large with random weights, a network of about the same kind. Medians of the
rounds are printed, and how many bytes the packages take on the disk with all that they depend on.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

OURS = """
import candle_deeplab as cd
imported()
model = cd.load()
loaded()
ids = model.segment(photo).ids
"""

ONNXRUNTIME = """
import numpy as np, onnxruntime, PIL.Image
imported()
session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
loaded()
image = PIL.Image.open(photo).convert("RGB")
small = image.resize((513, 513 * image.height // image.width), PIL.Image.BILINEAR)
pixels = np.full((1, 3, 513, 513), 0.0, np.float32)
pixels[0, :, : small.height] = np.asarray(small, np.float32).transpose(2, 0, 1) / 127.5 - 1
ids = session.run(None, {session.get_inputs()[0].name: pixels})[0][0, :, : small.height].argmax(0)
"""

TORCH = """
import numpy as np, PIL.Image, torch
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large
imported()
model = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21).eval()
model.load_state_dict(torch.load(network, mmap=True))
loaded()
image = PIL.Image.open(photo).convert("RGB")
small = image.resize((513, 513 * image.height // image.width), PIL.Image.BILINEAR)
with torch.inference_mode():
    pixels = torch.from_numpy(np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 255)
    ids = model(pixels)["out"][0].argmax(0).numpy()
"""

AROUND = """
import json, sys, time
start, times = time.perf_counter(), []
imported = loaded = lambda: times.append(time.perf_counter() - start)
photo, network = sys.argv[1:]
{}
assert ids.ndim == 2
loaded()
print(json.dumps(times))
"""

SAVE_TORCH = """
import sys, torch
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large
torch.save(deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21).state_dict(), sys.argv[1])
"""

# The bytes of a distribution and of all that it requires.
SIZE = """
import importlib.metadata as metadata, re, sys
def walk(name, seen):
    name = re.sub("[-_.]+", "-", name).lower()
    if name in seen:
        return
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return
    seen[name] = sum(file.size or 0 for file in found.files or [])
    for required in found.requires or []:
        if "extra ==" not in required:
            walk(re.match("[A-Za-z0-9._-]+", required)[0], seen)
seen = {}
for name in sys.argv[1:]:
    walk(name, seen)
print(sum(seen.values()))
"""


def run(python, code, *args):
    done = subprocess.run([python, "-c", code, *map(str, args)], check=True, capture_output=True, text=True)
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for peer in ("ours", "onnxruntime", "torch"):
        parser.add_argument(f"--{peer}", default=sys.executable, help="the Python that has it")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    photo = ROOT / "examples/photos/cat.jpg"
    with tempfile.TemporaryDirectory() as folder:
        onnx, torch = pathlib.Path(folder) / "model.onnx", pathlib.Path(folder) / "model.pt"
        run(args.ours, "import candle_deeplab as cd, sys; cd.export_onnx('bundled', sys.argv[1])", onnx)
        run(args.torch, SAVE_TORCH, torch)
        peers = {
            "candle-deeplab": (args.ours, OURS, "", ["candle-deeplab"]),
            "onnxruntime": (args.onnxruntime, ONNXRUNTIME, onnx, ["onnxruntime", "pillow", "numpy"]),
            "torch": (args.torch, TORCH, torch, ["torch", "torchvision", "pillow", "numpy"]),
        }
        times = {name: [] for name in peers}
        for _ in range(args.rounds):
            for name, (python, code, network, _) in peers.items():
                times[name].append(json.loads(run(python, AROUND.format(code), photo, network)))
        print(f"{'':16}{'import':>10}{'load':>10}{'first mask':>12}{'in all':>10}{'on disk':>12}")
        for name, (python, _, _, packages) in peers.items():
            imported, loaded, done = (statistics.median(column) for column in zip(*times[name]))
            size = int(run(python, SIZE, *packages)) / (1 << 20)
            columns = f"{imported:9.3f}s{loaded - imported:9.3f}s{done - loaded:11.3f}s{done:9.3f}s{size:9.0f} MiB"
            print(f"{name:16}{columns}", flush=True)


main()
