"""What the checks of a running server share."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
PHOTO = ROOT / "docs/pictures/photo.jpg"


def check(condition, what):
    if not condition:
        sys.exit(f"failed: {what}")
    print(f"ok: {what}")


def segment(program, model, file, probabilities=False):
    """What the program writes for this file: class ids [H, W], or probabilities [H, W, C]."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.npy"
        command = [program, "segment", str(file), "--model", model, "--format", "npy", "-o", str(out)]
        subprocess.run(command + ["--probs"] * probabilities, check=True, capture_output=True)
        return np.load(out)
