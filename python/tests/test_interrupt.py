"""Ctrl-C interrupts what computes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import candle_deeplab as cd

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")

# Longer than the test waits, on any machine.
LONG = """
import numpy as np
import candle_deeplab as cd
model, image = cd.load(tile=257, overlap=128), np.zeros((9000, 9000, 3), np.uint8)
print("begun", flush=True)
try:
    model.segment({image})
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("image", ["image", "[image[:600, :600]] * 10000"])
def test_ctrl_c_interrupts_within_images_and_between_them(image: str) -> None:
    command = [sys.executable, "-c", LONG.format(image=image)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(timeout=60) == 0
        assert time.monotonic() - begin < 10


def test_ctrl_c_interrupts_the_program(tmp_path: Path) -> None:
    Image.new("RGB", (9000, 9000)).save(tmp_path / "large.png")
    command = [sys.executable, "-m", "candle_deeplab", "segment", "large.png", "--tile", "257", "--overlap", "128", "--format", "mask"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        # It says which model it uses, when it has begun.
        assert "small model" in process.stderr.readline()
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert process.wait(timeout=60) == 130
        assert time.monotonic() - begin < 10
    assert [path.name for path in tmp_path.iterdir()] == ["large.png"]


def test_a_signal_that_raises_nothing_does_not_disturb(photo: NDArray[np.uint8]) -> None:
    model, seen = cd.load(tile=257, overlap=128), list[int]()
    expected = model.segment(photo).ids
    before = signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        while len(seen) < 3:
            assert np.array_equal(model.segment(photo).ids, expected)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
