"""What the package gives is what the program writes, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTO, Program

import candle_deeplab as cd

FORMATS = {
    "overlay": "overlay.png",
    "contours": "contours.png",
    "color": "color.png",
    "mask": "mask.png",
    "ids": "ids.png",
    "json": "json",
    "rle": "rle.json",
    "geojson": "geojson",
    "npy": "npy",
}


@pytest.fixture(scope="module")
def written(program: Program, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what the program makes of the pictures."""
    out = tmp_path_factory.mktemp("written")
    program("segment", pictures, "-o", out, "--format", ",".join(FORMATS), "--quiet")
    return out


@pytest.mark.parametrize("number", range(1, 14))
def test_every_output_is_the_programs(
    model: cd.Model, pictures: Path, written: Path, tmp_path: Path, number: int
) -> None:
    [picture] = pictures.glob(f"{number}.*")
    seg = model.segment(picture)
    for format, ending in FORMATS.items():
        # Pictures of a JPEG are JPEGs.
        if picture.suffix == ".jpg" and format in ("overlay", "contours"):
            ending = f"{format}.jpg"
        ours, theirs = tmp_path / f"{number}.{ending}", written / f"{number}.{ending}"
        seg.save(ours, format=format, image_id=number)  # pyright: ignore[reportArgumentType]
        assert ours.read_bytes() == theirs.read_bytes(), format

    assert seg.mask() == (written / f"{number}.mask.png").read_bytes()
    assert seg.rle(number) == json.loads((written / f"{number}.rle.json").read_text())
    assert seg.geojson() == json.loads((written / f"{number}.geojson").read_text())
    assert np.array_equal(seg.ids, np.load(written / f"{number}.npy"))
    classes = json.loads((written / f"{number}.json").read_text())["classes"]
    assert seg.shares == {found["name"]: found["share"] for found in classes}


def test_probabilities_are_the_programs(model: cd.Model, program: Program, tmp_path: Path) -> None:
    program("segment", PHOTO, "-o", tmp_path, "--format", "npy,rle", "--probs", "--quiet")
    seg = model.segment(PHOTO, probabilities=True)
    assert np.array_equal(seg.probabilities(), np.load(tmp_path / "photo.npy"))
    assert seg.rle() == json.loads((tmp_path / "photo.rle.json").read_text())
    seg.save(tmp_path / "ours.npy", format="npy")
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "photo.npy").read_bytes()


@pytest.mark.parametrize(
    "options, flags",
    [
        ({"output_stride": 8}, ["--output-stride", "8"]),
        ({"scales": [0.75, 1.0], "flip": True}, ["--scales", "0.75,1", "--flip"]),
        ({"tile": 257, "overlap": 32}, ["--tile", "257", "--overlap", "32"]),
        ({"tile": (200, 300)}, ["--tile", "200x300"]),
        ({"threads": 1}, ["--threads", "1"]),
    ],
)
def test_options_mean_what_they_mean_in_the_program(
    program: Program, tmp_path: Path, options: dict[str, object], flags: list[str]
) -> None:
    program("segment", PHOTO, "-o", tmp_path, "--format", "npy", "--quiet", *flags)
    seg = cd.load(**options).segment(PHOTO)  # pyright: ignore[reportArgumentType]
    assert np.array_equal(seg.ids, np.load(tmp_path / "photo.npy"))


def test_the_program_says_what_is_wrong_and_how_it_ended(program: Program, tmp_path: Path) -> None:
    assert "segment" in program("--help")
    with pytest.raises(AssertionError, match="photo"):
        program("segment", tmp_path / "photo.jpg")
