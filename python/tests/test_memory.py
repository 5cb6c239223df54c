"""Memory does not grow from call to call."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import candle_deeplab as cd

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is counted by the files of Linux")

# What allocators keep for later, however many calls there are.
SLACK = 12 << 20

# How often it is measured. What leaks grows each time; what allocators keep does not.
ROUNDS = 3


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(model: cd.Model, image: NDArray[np.uint8], calls: int) -> int:
    def call() -> None:
        seg = model.segment(image)
        assert seg.ids.shape == seg.overlay().shape[:2]
        seg.mask()
        seg.rle()
        with pytest.raises(TypeError):
            model.segment(image.astype(np.float32))

    for _ in range(30):
        call()
    return least_growth(lambda: [call() for _ in range(calls // ROUNDS)])


def least_growth(act: Callable[[], object]) -> int:
    """The least by which the memory grows in a round."""
    growths = []
    for _ in range(ROUNDS):
        before = resident()
        act()
        growths.append(resident() - before)
    return min(growths)


def test_memory_does_not_grow_over_300_calls(model: cd.Model, photo: NDArray[np.uint8]) -> None:
    image = np.ascontiguousarray(photo[:256, :256])
    # A leak of the image alone would be 20 MB in each round.
    assert growth(model, image, 300) < SLACK


@pytest.mark.slow
def test_memory_does_not_grow_over_10000_calls(model: cd.Model, photo: NDArray[np.uint8]) -> None:
    image = np.ascontiguousarray(photo[:64, :64])
    # A leak of the image alone would be 41 MB in each round.
    assert growth(model, image, 10_000) < SLACK


def test_loading_again_gives_the_memory_back() -> None:
    image = np.zeros((33, 33, 3), np.uint8)
    for _ in range(3):
        cd.load().segment(image)
    # The weights alone are 8 MB each time.
    assert least_growth(lambda: [cd.load().segment(image) for _ in range(7)]) < SLACK
