"""What may be an image, and what is said about everything else."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PHOTO
from numpy.typing import NDArray
from PIL import Image

import candle_deeplab as cd

Photo = NDArray[np.uint8]


def png(photo: Photo) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file.getvalue()


def saved(photo: Photo, folder: Path) -> Path:
    path = folder / "photo.png"
    path.write_bytes(png(photo))
    return path


def read_only(photo: Photo) -> Photo:
    copy = photo.copy()
    copy.setflags(write=False)
    return copy


def mapped(photo: Photo, folder: Path) -> Photo:
    np.save(folder / "photo.npy", photo)
    return np.load(folder / "photo.npy", mmap_mode="r")


def torch_tensor(photo: Photo) -> Any:
    return pytest.importorskip("torch").from_numpy(photo.copy())


KINDS: dict[str, Callable[[Photo, Path], Any]] = {
    "array": lambda photo, _: photo,
    "Fortran order": lambda photo, _: np.asfortranarray(photo),
    "negative strides": lambda photo, _: photo[::-1, ::-1].copy()[::-1, ::-1],
    "a part of a larger array": lambda photo, _: np.pad(photo, ((3, 2), (1, 4), (0, 1)))[3:-2, 1:-4, :3],
    "every second pixel": lambda photo, _: photo.repeat(2, axis=0).repeat(2, axis=1)[::2, ::2],
    "channels moved to the end": lambda photo, _: np.moveaxis(np.moveaxis(photo, -1, 0).copy(), 0, -1),
    "blue, green, red turned round": lambda photo, _: photo[..., ::-1].copy()[..., ::-1],
    "read-only": lambda photo, _: read_only(photo),
    "memory map": mapped,
    "PIL": lambda photo, _: Image.fromarray(photo),
    "PIL with transparency": lambda photo, _: Image.fromarray(photo).convert("RGBA"),
    "path": lambda photo, folder: saved(photo, folder),
    "str": lambda photo, folder: str(saved(photo, folder)),
    "bytes": lambda photo, _: png(photo),
    "bytearray": lambda photo, _: bytearray(png(photo)),
    "torch": lambda photo, _: torch_tensor(photo),
    "torch with strides": lambda photo, _: torch_tensor(photo).permute(2, 0, 1).contiguous().permute(1, 2, 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_the_same_in_every_form(model: cd.Model, photo: Photo, tmp_path: Path, kind: str) -> None:
    expected = model.segment(photo.copy())
    seg = model.segment(KINDS[kind](photo, tmp_path))
    assert isinstance(seg, cd.Segmentation)
    assert np.array_equal(seg.ids, expected.ids)
    assert np.array_equal(seg.overlay(), expected.overlay())


def test_an_array_is_not_changed_and_may_change_afterwards(model: cd.Model, photo: Photo) -> None:
    image = photo.copy()
    seg = model.segment(image)
    assert np.array_equal(image, photo)
    overlay = seg.overlay(0.0)
    image[:] = 0
    assert np.array_equal(seg.overlay(0.0), overlay)


def test_a_list_gives_a_list(model: cd.Model, photo: Photo) -> None:
    small = photo[::2, ::3]
    for images in ([photo, PHOTO, small], (photo, PHOTO, small)):
        segs = model.segment(images)
        assert [seg.size for seg in segs] == [(photo.shape[1], photo.shape[0])] * 2 + [(small.shape[1], small.shape[0])]
        assert np.array_equal(segs[2].ids, model.segment(small).ids)
    assert model.segment([]) == []


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "LA", "1"])
def test_pil_images_of_8_bits_are_converted(model: cd.Model, photo: Photo, mode: str) -> None:
    image = Image.fromarray(photo).convert(mode)
    assert np.array_equal(model.segment(image).ids, model.segment(np.asarray(image.convert("RGB"))).ids)


def test_pil_images_are_turned_upright(model: cd.Model, photo: Photo) -> None:
    image = Image.fromarray(np.ascontiguousarray(np.rot90(photo)))
    image.getexif()[0x0112] = 6
    assert np.array_equal(model.segment(image).ids, model.segment(photo).ids)


class OnGpu:
    """A tensor in the memory of a GPU."""

    def __dlpack__(self, **_: object) -> object:
        raise AssertionError("it is not asked for")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)


WRONG: list[tuple[Any, type[Exception], str]] = [
    (np.zeros((4, 5, 3), np.float32), TypeError, r"float32.*uint8 is wanted: multiply by 255"),
    (np.zeros((4, 5, 3), np.float64), TypeError, "multiply by 255"),
    (np.zeros((4, 5, 3), np.int16), TypeError, "int16.*0-255"),
    (np.zeros((4, 5, 3), bool), TypeError, "bool"),
    (np.full((4, 5, 3), np.nan), TypeError, "multiply by 255"),
    (np.array([["a"]]), TypeError, "uint8 is wanted"),
    (np.zeros((4, 5), np.uint8), ValueError, r"\[4, 5\].*numpy\.stack"),
    (np.zeros((4, 5, 1), np.uint8), ValueError, "numpy.repeat"),
    (np.zeros((4, 5, 4), np.uint8), ValueError, r"image\[\.\.\., :3\]"),
    (np.zeros((4, 5, 2), np.uint8), ValueError, "red, green and blue"),
    (np.zeros((3, 4, 5), np.uint8), ValueError, "numpy.moveaxis"),
    (np.zeros((2, 4, 5, 3), np.uint8), ValueError, r"list\(images\)"),
    (np.zeros((), np.uint8), ValueError, r"\[H, W, 3\] is wanted"),
    (np.zeros((0, 5, 3), np.uint8), ValueError, "no pixels"),
    (np.zeros((4, 0, 3), np.uint8), ValueError, "no pixels"),
    (Image.new("I;16", (5, 4)), ValueError, "I;16.*8 bits"),
    (Image.new("F", (5, 4)), ValueError, "8 bits"),
    (OnGpu(), ValueError, r"\.cpu\(\)"),
    (None, TypeError, "NoneType"),
    (7, TypeError, "int"),
    ({"image": PHOTO}, TypeError, "dict"),
    (iter([PHOTO]), TypeError, "an image is a uint8 array"),
    ([PHOTO, None], TypeError, "NoneType"),
    ("no/such/photo.jpg", cd.ImageError, "no/such/photo.jpg"),
    (b"", cd.ImageError, "image"),
    (b"not an image", cd.ImageError, "image"),
    (PHOTO.read_bytes()[:9000], cd.ImageError, "damaged"),
    (PHOTO.parent, cd.ImageError, "pictures"),
]


@pytest.mark.parametrize("image, error, said", WRONG)
def test_what_is_no_image_is_said_with_the_way_out(
    model: cd.Model, image: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        model.segment(image)


def test_errors_are_of_one_class() -> None:
    for error in (cd.ModelError, cd.ImageError, cd.DownloadError, cd.ConvertError, cd.DataError):
        assert issubclass(error, cd.Error)
        assert error.__module__ == "candle_deeplab" and error.__doc__
    assert not issubclass(cd.Error, (OSError, ValueError))
