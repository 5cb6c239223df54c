"""What may be an image or a tensor, and what the native code gets of it: contiguous arrays, paths and bytes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from candle_deeplab._native import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# DLPack's numbers of devices whose memory the CPU can read: its own, and what CUDA and ROCm pin or manage.
_HOST_MEMORY = {1, 3, 11, 13}

# PIL's modes of more than 8 bits, which its `convert` cuts off.
_DEEP_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}

_IMAGES = (
    "an image is a uint8 array [H, W, 3], a PIL image, a path, the bytes of a file, or a tensor with `__dlpack__`"
)


def picture(image: Any) -> NDArray[np.uint8] | bytes | bytearray | str:
    """An image as a contiguous array uint8 [H, W, 3], as the content of a file, or as the path of one."""
    if isinstance(image, (bytes, bytearray)):
        return image
    if isinstance(image, (str, os.PathLike)):
        return os.fsdecode(image)  # pyright: ignore[reportUnknownArgumentType]
    if _is_pil(image):
        image = _upright(image)
    array = _array(image, _IMAGES)
    if array.dtype != np.uint8:
        raise TypeError(f"the image is {array.dtype}, and uint8 is wanted: {_to_uint8(array)}")
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"the image is {list(array.shape)}, and [H, W, 3] is wanted: {_to_rgb(array)}")
    if array.size == 0:
        raise ValueError(f"the image is {list(array.shape)}: it has no pixels")
    return np.require(array, requirements=["C", "A"])


def pixels(tensor: Any) -> NDArray[np.float32]:
    """Preprocessed pixels as a contiguous array float32 [N, 3, H, W]."""
    array = _array(tensor, "pixels are a float32 array or tensor [N, 3, H, W]")
    if array.dtype != np.float32:
        raise TypeError(f"the pixels are {array.dtype}, and float32 is wanted: convert them with `.astype('float32')`, or `.float()` of torch")
    if array.ndim != 4 or array.shape[1] != 3 or array.size == 0:
        raise ValueError(f"the pixels are {list(array.shape)}, and [N, 3, H, W] is wanted, with no side of 0")
    return np.require(array, requirements=["C", "A"])


def _array(value: Any, wanted: str) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value  # pyright: ignore[reportUnknownVariableType]
    if not hasattr(value, "__dlpack__"):
        raise TypeError(f"{wanted}, and not {type(value).__name__}")
    if value.__dlpack_device__()[0] not in _HOST_MEMORY:
        raise ValueError("the tensor is in the memory of a GPU: call `.cpu()` first")
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError) as error:
        raise ValueError(f"the tensor cannot be read: {error}") from error


def _is_pil(value: Any) -> bool:
    # Whoever has such an image has imported it.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def _upright(image: Any) -> NDArray[np.uint8]:
    """The pixels of a PIL image, turned as its EXIF orientation says. Transparency is dropped."""
    from PIL import ImageOps

    if image.mode in _DEEP_MODES:
        reason = f"the image has the mode {image.mode}, and 8 bits a colour are wanted"
        raise ValueError(f"{reason}: scale it to 0-255 and convert it, or give the file's path")
    try:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except OSError as error:  # Files are read late, and may end early.
        raise ImageError(f"the image cannot be read: {error}") from error


def _to_uint8(array: NDArray[Any]) -> str:
    if array.dtype.kind == "f":
        return "multiply by 255 if its values are from 0 to 1, and convert to uint8 with `.astype('uint8')`, or `.byte()` of torch"
    return "scale its values to 0-255, and convert it with `.astype('uint8')`, or `.byte()` of torch"


def _to_rgb(array: NDArray[Any]) -> str:
    match array.shape:
        case (_, _):
            return "make three channels of the grey one with `numpy.stack([image] * 3, axis=-1)`"
        case (_, _, 1):
            return "make three channels of the grey one with `numpy.repeat(image, 3, axis=2)`"
        case (_, _, 4):
            return "leave the transparency out with `image[..., :3]`, or give a PIL image, `.convert('RGB')`"
        case (3, _, _):
            return "move the channels to the end with `numpy.moveaxis(image, 0, -1)`"
        case (_, _, _, _):
            return "give several images as a list, `list(images)`"
        case _:
            return "the last axis holds red, green and blue"
