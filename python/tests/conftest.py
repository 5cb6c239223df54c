"""What the tests share: a model, photographs, and the program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

import candle_deeplab as cd

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
PHOTO = REPOSITORY / "docs" / "pictures" / "photo.jpg"

# Longer than any command of the tests takes on a slow machine.
TIMEOUT = 300


class Program(Protocol):
    def __call__(self, *args: object) -> str:
        """Runs `python -m candle_deeplab` with these arguments, and returns what it prints."""
        ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("CANDLE_DEEPLAB_SLOW"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: set CANDLE_DEEPLAB_SLOW=1"))


@pytest.fixture(scope="session")
def program() -> Program:
    def run(*args: object) -> str:
        command = [sys.executable, "-m", "candle_deeplab", *map(str, args)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


@pytest.fixture(scope="session")
def model() -> cd.Model:
    return cd.load()


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """A photograph of a person: uint8 [H, W, 3]."""
    return np.asarray(Image.open(PHOTO).convert("RGB"))


@pytest.fixture(scope="session")
def pictures(photo: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs whose names are numbers: a JPEG, its sizes, cut-outs of it, and patterns."""
    folder = tmp_path_factory.mktemp("pictures")
    shutil.copy(PHOTO, folder / "1.jpg")
    for number, picture in enumerate(_pictures(Image.fromarray(photo)), 2):
        picture.save(folder / f"{number}.png")
    return folder


def _pictures(photo: Image.Image) -> Iterator[Image.Image]:
    for width, height in [(64, 48), (513, 513), (300, 700), (1100, 240)]:
        yield photo.resize((width, height))
    for seed in range(4):
        random = np.random.default_rng(seed)
        left, top = random.integers(0, photo.width // 2), random.integers(0, photo.height // 2)
        width, height = random.integers(photo.width // 4, photo.width // 2, 2)
        yield ImageOps.mirror(photo.crop((int(left), int(top), int(left + width), int(top + height))))
    for seed in range(4):
        random = np.random.default_rng(100 + seed)
        blocks = random.integers(0, 256, (5 + seed, 7, 3), np.uint8)
        yield Image.fromarray(blocks).resize((97 + 41 * seed, 130), Image.Resampling.BICUBIC)
