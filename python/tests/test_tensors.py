"""The network without its pre- and postprocessing, and tensors of other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import candle_deeplab as cd


@pytest.fixture(scope="module")
def pixels(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Two inputs, as the model in the box wants them: float32 [2, 3, 65, 97] from -1 to 1."""
    small = photo[:65, :97].astype(np.float32) / 128 - 1
    return np.stack([small, small[:, ::-1]]).transpose(0, 3, 1, 2).copy()


def test_logits_have_the_inputs_size(model: cd.Model, pixels: NDArray[np.float32]) -> None:
    logits = model.logits(pixels)
    assert (logits.dtype, logits.shape) == (np.float32, (2, len(model.labels), 65, 97))
    assert np.isfinite(logits).all() and logits.std() > 0.1
    # Each image by itself gives the same.
    assert np.allclose(model.logits(pixels[:1]), logits[:1], atol=1e-4)


def test_strides_and_order_do_not_matter(model: cd.Model, pixels: NDArray[np.float32]) -> None:
    expected = model.logits(pixels)
    copy = pixels.copy()
    copy.setflags(write=False)
    turned = pixels[:, ::-1].copy()[:, ::-1]
    # Four bytes that do not begin at a multiple of four.
    shifted = np.frombuffer(b"\0" + pixels.tobytes(), np.uint8)[1:].view(np.float32).reshape(pixels.shape)
    for same in (np.asfortranarray(pixels), copy, turned, shifted):
        assert np.array_equal(model.logits(same), expected)


def test_features_are_named_and_in_order(model: cd.Model, pixels: NDArray[np.float32]) -> None:
    taps = ["classifier", "backbone"]
    features = model.features(pixels, taps)
    assert list(features) == taps
    assert features["backbone"].shape[0] == 2 and features["backbone"].dtype == np.float32
    assert features["classifier"].shape[1] == len(model.labels)
    # Output stride 16.
    assert features["backbone"].shape[2:] == (5, 7)
    assert model.features(pixels, []) == {}
    for tap in model.taps[:5]:
        assert np.isfinite(model.features(pixels, [tap])[tap]).all()


def test_a_tap_that_is_not_there_is_said(model: cd.Model, pixels: NDArray[np.float32]) -> None:
    with pytest.raises(cd.ModelError, match="no tap `backbones`"):
        model.features(pixels, ["backbones"])
    with pytest.raises(TypeError):
        model.features(pixels, "backbone")


WRONG: list[tuple[Any, type[Exception], str]] = [
    (np.zeros((1, 3, 5, 5)), TypeError, "float64, and float32 is wanted"),
    (np.zeros((1, 3, 5, 5), np.uint8), TypeError, "uint8"),
    (np.zeros((1, 3, 5, 5), ">f4" if np.little_endian else "<f4"), TypeError, "float32 is wanted"),
    (np.zeros((3, 5, 5), np.float32), ValueError, r"\[N, 3, H, W\] is wanted"),
    (np.zeros((1, 4, 5, 5), np.float32), ValueError, r"\[1, 4, 5, 5\]"),
    (np.zeros((0, 3, 5, 5), np.float32), ValueError, "no side of 0"),
    (np.zeros((1, 3, 0, 5), np.float32), ValueError, "no side of 0"),
    (np.full((1, 3, 5, 5), np.nan, np.float32), ValueError, "NaN.*finite"),
    (np.full((1, 3, 5, 5), -np.inf, np.float32), ValueError, "-inf.*finite"),
    ([[1.0]], TypeError, "list"),
]


@pytest.mark.parametrize("pixels, error, said", WRONG)
def test_what_are_no_pixels_is_said(model: cd.Model, pixels: Any, error: type[Exception], said: str) -> None:
    for run in (model.logits, lambda pixels: model.features(pixels, ["backbone"])):
        with pytest.raises(error, match=said):
            run(pixels)


class Exported:
    """A tensor that has nothing but DLPack."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[Any, Any]:
        return self.array.__dlpack_device__()


def test_tensors_come_in_by_dlpack(
    model: cd.Model, pixels: NDArray[np.float32], photo: NDArray[np.uint8]
) -> None:
    assert np.array_equal(model.logits(Exported(pixels)), model.logits(pixels))
    assert np.array_equal(model.segment(Exported(photo.copy())).ids, model.segment(photo).ids)
    with pytest.raises(TypeError, match="multiply by 255"):
        model.segment(Exported(pixels))


def test_arrays_go_out_by_dlpack_without_a_copy(model: cd.Model, pixels: NDArray[np.float32]) -> None:
    logits = model.logits(pixels)
    assert np.shares_memory(np.from_dlpack(logits), logits)


def test_torch_takes_and_gives_tensors(model: cd.Model, pixels: NDArray[np.float32], photo: NDArray[np.uint8]) -> None:
    torch = pytest.importorskip("torch")
    logits = torch.from_dlpack(model.logits(torch.from_numpy(pixels)))
    assert tuple(logits.shape) == (2, 21, 65, 97)
    # Label maps are read-only, which older versions of DLPack cannot say.
    ids = torch.from_dlpack(model.segment(photo).ids.copy())
    assert ids.dtype == torch.uint8 and tuple(ids.shape) == photo.shape[:2]
    with pytest.raises(ValueError, match="cannot be read"):
        model.logits(torch.zeros(1, 3, 9, 9, requires_grad=True))
