"""What the native module has. `candle_deeplab` has all of it but `run`."""

import os
from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as PilImage

StrPath: TypeAlias = str | os.PathLike[str]
Sides: TypeAlias = int | tuple[int, int] | list[int]

class Tensor(Protocol):
    """A tensor of another library, such as torch, in the CPU's memory."""

    def __dlpack__(self) -> Any: ...
    def __dlpack_device__(self) -> tuple[Any, Any]: ...

Picture: TypeAlias = NDArray[np.uint8] | PilImage | StrPath | bytes | bytearray | Tensor
AnyPicture = TypeVar("AnyPicture", bound=Picture)
Format: TypeAlias = Literal["overlay", "contours", "color", "mask", "ids", "json", "rle", "geojson", "npy"]

__version__: str

class Error(Exception):
    """An error of candle_deeplab: the base of the others, and itself for outputs that cannot be written."""

class ModelError(Error):
    """A model that does not exist, is damaged, or cannot run like this or here."""

class ImageError(Error):
    """An image that cannot be read, or that takes more memory than there is."""

class DownloadError(Error):
    """A model that the network does not give."""

class ConvertError(Error):
    """A checkpoint that cannot be converted or compared."""

class DataError(Error):
    """A data set or label maps that cannot be judged."""

class Model:
    """A network with its weights, ready to segment images of any size. `load` makes one.

    It may be used by several threads at once, and in processes that are forked from this one. A pickled model is its
    arguments: it is loaded again where it is unpickled.
    """

    @property
    def name(self) -> str:
        """The name or path that it was loaded by; `bundled` for the model in the box."""

    @property
    def labels(self) -> list[str]:
        """The name of each class, by its id."""

    @property
    def colors(self) -> NDArray[np.uint8]:
        """The data set's colour of each class: uint8 [classes, 3], red, green and blue."""

    @property
    def device(self) -> str:
        """The device that the network runs on, such as `cpu` or `cuda:0`."""

    @property
    def dtype(self) -> str:
        """The numbers that matrix products multiply: `f32` or `bf16`."""

    @property
    def taps(self) -> list[str]:
        """The names of the network's intermediate values, for `features`."""

    @overload
    def segment(
        self, image: list[AnyPicture] | tuple[AnyPicture, ...], *, probabilities: bool = False
    ) -> list[Segmentation]: ...
    @overload
    def segment(self, image: Picture, *, probabilities: bool = False) -> Segmentation:
        """Finds the class of each pixel of an image, or of each image of a list.

        Args:
            image: A uint8 array [H, W, 3] (red, green, blue), a PIL image, the path of a file, the content of a file, a
                tensor in the CPU's memory with `__dlpack__` (uint8 [H, W, 3]), or a list or tuple of those.
            probabilities: Whether the probabilities are kept; for `Segmentation.probabilities`, and as the scores of
                `rle`.

        Returns:
            A segmentation of the image's own size, or a list of them.

        Raises:
            ImageError: A file is no image, or the image takes more memory than there is.
            ModelError: The network fails.
            TypeError, ValueError: An array has another type or shape; the message says what to do.
        """

    def logits(self, pixels: NDArray[np.float32] | Tensor) -> NDArray[np.float32]:
        """Runs the network on preprocessed pixels.

        Args:
            pixels: A float32 array or tensor [N, 3, H, W], preprocessed as the model's `config.json` says. Every value
                is finite.

        Returns:
            The logits at the input's size: float32 [N, classes, H, W].

        Raises:
            ModelError: The network cannot take this size, or has no head.
            TypeError, ValueError: The pixels have another type or shape, or hold NaN or infinity.
        """

    def features(self, pixels: NDArray[np.float32] | Tensor, taps: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Computes intermediate values of the network, and nothing after the last of them.

        Args:
            pixels: As for `logits`.
            taps: Names from `Model.taps`, such as `backbone` or `decoder`.

        Returns:
            A dictionary from each tap's name to its value, in the order of `taps`: float32 [N, C, h, w].

        Raises:
            ModelError: There is no such tap; the message names some that there are. Otherwise as `logits`.
            TypeError, ValueError: As `logits`.
        """

class Segmentation:
    """The class of each pixel of an image, with the image and the classes' names and colours.

    `Model.segment` makes one. What it gives is what the program `segment` writes, byte for byte.
    """

    @property
    def ids(self) -> NDArray[np.uint8]:
        """The class of each pixel: uint8 [H, W], read-only. It is the segmentation's own memory, without a copy."""

    @property
    def labels(self) -> list[str]:
        """The name of each class, by its id."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as PIL has them."""

    @property
    def tiles(self) -> int | None:
        """How many tiles the image was cut into because memory was short; `None` if it was not."""

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels of each class in the image, by its name, the largest first. The shares sum up to 1."""

    def probabilities(self) -> NDArray[np.float32]:
        """The probability of each class at each pixel: float32 [H, W, classes].

        Raises:
            ValueError: They were not kept: `segment(image, probabilities=True)` keeps them.
        """

    def overlay(self, opacity: float = 0.6) -> NDArray[np.uint8]:
        """The photograph with the classes' colours over it, their outlines and names: uint8 [H, W, 3].

        Args:
            opacity: How much the colours cover the photograph, from 0 to 1.
        """

    def mask(self) -> bytes:
        """The bytes of an indexed PNG: class ids, with the data set's colours as the palette."""

    def rle(self, image_id: int = 1) -> list[dict[str, Any]]:
        """The classes as COCO results, which pycocotools loads: a list with a dictionary for each class but the background,
        of `image_id`, `category_id` (the class id), `category_name`, `segmentation` (`size` and compressed `counts`) and
        `score`. The score is the mean probability of the class over its pixels if the probabilities were kept, and else 1.

        Args:
            image_id: The image's number.
        """

    def geojson(self) -> dict[str, Any]:
        """The classes as a GeoJSON feature collection: a MultiPolygon for each class but the background, exact along the
        pixels' edges, in pixels from the upper left corner, with `class`, `name`, `color` and `pixels` as properties.
        """

    def save(
        self,
        path: StrPath,
        *,
        format: Format = "overlay",
        opacity: float = 0.6,
        image_id: int = 1,
        replace: bool = False,
    ) -> None:
        """Writes a file as the program does: whole or not at all.

        Args:
            path: The file. Its extension chooses PNG, JPEG or WebP for pictures, and must fit the format otherwise.
            format: `overlay`, `contours`, `color` (pictures), `mask`, `ids` (PNG), `json`, `rle` (.json), `geojson` or
                `npy`, which holds class ids, or the probabilities if they were kept.
            opacity: As for `overlay`.
            image_id: As for `rle`.
            replace: Whether a file that is there already is replaced.

        Raises:
            Error: The file exists, or cannot be written.
            ValueError: There is no such format, or the extension is another's.
        """

def load(
    model: StrPath | None = None,
    *,
    device: str = "auto",
    dtype: Literal["f32", "bf16"] = "f32",
    threads: int | None = None,
    namespace: str | None = None,
    offline: bool = False,
    output_stride: int | None = None,
    scales: Sequence[float] | None = None,
    flip: bool = False,
    tile: Sides | None = None,
    overlap: int = 64,
) -> Model:
    """Loads a model: the one in the box, or one by name or path.

    A name is one that `models()` lists, `ORG/NAME[@REVISION][:FILE]` on the Hugging Face Hub, or an address. Its files are
    fetched once, verified, converted and kept in the Hub's cache. A path is that of a model directory, or of a checkpoint
    of another program. The weights are ready when this returns, so that the first image takes no longer than the others.

    Args:
        model: The name or path; `None` is the small model that is part of this package, for the classes of PASCAL VOC.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `metal`: where the network runs. `auto` is the fastest that was built in
            and works, and always the CPU with `dtype="bf16"`.
        dtype: `f32`, or `bf16` on CPUs with AVX512_BF16: the numbers that matrix products multiply.
        threads: How many threads compute; by default one for each core, or `RAYON_NUM_THREADS`. Models with the same
            number share them.
        namespace: A user or organisation on the Hub whose models of our names come first.
        offline: Whether the network may not be used.
        output_stride: 8, 16 or 32, if not the model's own: less is finer and slower.
        scales: Scales at which the network looks at an image, each above 0 and at most 8; its answers are averaged.
        flip: Whether it looks at the mirror image, too.
        tile: Height and width, or one number for both: images are cut into tiles that go through the network at their
            own size.
        overlap: Pixels that neighbouring tiles share.

    Raises:
        ModelError: There is no such model, it is damaged, or it cannot run like this or here.
        DownloadError: The model is not on this machine, and the network does not give it.
        ConvertError: Its checkpoint cannot be converted.
        ValueError: An argument is not one of those above.
    """

def models() -> list[dict[str, Any]]:
    """Lists the published models that `load` knows by name.

    Each is a dictionary with `id`, `aliases`, `description`, `kind` (`segmentation` or `backbone`), `backbone`, `dataset`,
    `classes`, `output_stride`, `licence`, `paper`, `evaluations` and what else is known. Nothing is fetched.
    """

def convert(
    src: StrPath,
    out: StrPath,
    *,
    state: str | None = None,
    family: str | None = None,
    output_stride: int | None = None,
    atrous_rates: Sequence[int] | None = None,
    align_corners: bool | None = None,
    multi_grid: Sequence[int] | None = None,
    labels: StrPath | None = None,
    input_size: Sides | None = None,
    keep_auxiliary: bool = False,
    dtype: Literal["f32", "f16"] = "f32",
    license: str | None = None,
    datasets: Sequence[str] | None = None,
    ignore_unexpected: bool = False,
    replace: bool = False,
) -> dict[str, Any]:
    """Converts a checkpoint into a model directory: `config.json`, `model.safetensors` and a model card.

    TensorFlow checkpoints and frozen graphs, TFLite, safetensors and PyTorch files, and folders of transformers models are
    read. What the network is, the tensors' names and shapes tell; an option overrides that. Nothing is executed that a file
    contains. Everything is checked before anything is written.

    Args:
        src: The file, the prefix of a TensorFlow checkpoint, or the folder.
        out: The model directory, which is made where it is missing.
        state: The weights to take from a PyTorch file that holds several, such as `model_ema`.
        family: The code base that the weights come from, where it is not recognised.
        output_stride: The output stride that the network was trained for: 8, 16 or 32.
        atrous_rates: The dilations of the ASPP's branches at that output stride.
        align_corners: Whether corner pixels keep their places when maps are resized.
        multi_grid: Three dilations of the last block's units.
        labels: `voc`, `cityscapes`, `ade20k`, `ade20k-150`, `camvid`, or a file with a class name on each line.
        input_size: Height and width of the network's input, or one number for both.
        keep_auxiliary: Whether the auxiliary head is kept.
        dtype: `f32` or `f16`: what the weights are stored as.
        license: The licence of the weights, for the model card.
        datasets: What the network was trained on, for the model card.
        ignore_unexpected: Whether tensors that no rule knows are left out, and not an error.
        replace: Whether a model that is already in the directory is replaced.

    Returns:
        What was done: `source`, `format`, `out`, `decisions`, `parameters`, `used`, `renamed`, `unexpected` and so on, as
        `weights-convert convert --json` prints it.

    Raises:
        ConvertError: The file is damaged or no network that is known, or the directory cannot be written.
    """

def verify(model: StrPath, reference: StrPath, *, tolerance: float = 1e-3) -> dict[str, Any]:
    """Compares the logits of a model with those of the network that it was converted from, on the CPU.

    Args:
        model: A model directory.
        reference: A safetensors file with `input` [N, 3, H, W], already preprocessed, and the original's `logits`
            [N, classes, h, w], at the head's resolution or the input's; of a backbone, `features` instead.
        tolerance: The largest difference that passes, in standard deviations of the reference's logits.

    Returns:
        `max_abs_diff`, `max_abs_diff_over_std`, `mask_agreement`, `tolerance` and `passed`.

    Raises:
        ConvertError: The model or the reference cannot be read, or their shapes do not fit each other.
        ValueError: The tolerance is no number of standard deviations.
    """

def export_onnx(
    model: Model | StrPath | None,
    out: StrPath,
    *,
    size: Sides | None = None,
    output_stride: int | None = None,
    head: Literal["logits", "mask"] = "logits",
    replace: bool = False,
) -> dict[str, Any]:
    """Exports a model as an ONNX file, for onnxruntime, OpenVINO and their like: from `input`, float32 [1, 3, H, W],
    already preprocessed, to `logits` or `mask`. Batch norms are folded. The file's metadata hold the recipe and the classes'
    names.

    Args:
        model: A model, or what `load` takes for its name.
        out: The file.
        size: Height and width of the input, or one number for both; by default the model's own.
        output_stride: 8, 16 or 32, if not the model's own.
        head: `logits`, float32 [1, classes, H, W] at the input's size; or `mask`, uint8 [1, H, W], the class of each
            pixel.
        replace: Whether a file that is there already is replaced.

    Returns:
        `model`, `path`, `bytes`, `size` (height and width), `output_stride` and `output`, as the program prints it.

    Raises:
        ModelError: The model cannot be loaded, or has no such form.
        Error: The file exists, or cannot be written.
    """

def evaluate(
    predictions: StrPath,
    data: StrPath,
    *,
    split: str = "val",
    kind: Literal["folder", "voc", "cityscapes", "ade20k"] | None = None,
    labels: StrPath | None = None,
    limit: int | None = None,
    trimap: int = 0,
    worst: int = 0,
) -> dict[str, Any]:
    """Judges the label maps of a folder against those of a data set, as `eval --predictions` does.

    IoU of a class = right / (labelled + predicted - right), over all pixels of all images. A class that is neither labelled
    nor predicted has none, and mIoU leaves it out. Ignored pixels do not count.

    Args:
        predictions: A folder of PNG files of class ids, numbered as the data set's label maps and named like its images.
        data: The data set's folder.
        split: The part of the data set.
        kind: The layout: `folder` (images/SPLIT and labels/SPLIT), `voc`, `cityscapes` or `ade20k`; by default, the data
            set's folders tell.
        labels: The classes: `voc`, `cityscapes`, `ade20k`, `ade20k-150`, `camvid`, or a file; by default those of the data
            set.
        limit: Judge only so many images, the first ones.
        trimap: Judge also the pixels within 1, 2, ... `trimap` pixels of a border; at most 256.
        worst: How many of the worst images are named.

    Returns:
        The report that `eval --predictions ... --json` prints: `miou`, `pixel_accuracy`, `classes` and so on; scores are
        shares from 0 to 1, or `None` where there is none.

    Raises:
        DataError: A label map is missing, has another size, or holds an id that is no class; the message names it.
        ValueError: An argument is not one of those above.
    """

def run(args: list[str]) -> int:
    """Runs the program with these arguments, of which the first is its own name, and returns its exit code.

    It is meant to have a process of its own: it handles Ctrl-C itself, and uses threads that a fork does not survive.
    """
