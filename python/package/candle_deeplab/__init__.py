"""DeepLabv3+ on candle: what is where in an image.

    import candle_deeplab as cd

    model = cd.load()                        # a small model is in the box; cd.models() lists others
    seg = model.segment("photo.jpg")         # or an array, a PIL image, bytes, a tensor, or a list of them
    seg.ids                                  # the class of each pixel: uint8 [H, W]
    seg.shares                               # {"person": 0.52, "background": 0.48}
    seg.save("overlay.jpg")

Threads: the interpreter's lock is released while something computes, and Ctrl-C interrupts it. Models may be used by several
threads at once. Processes may be spawned or forked at any time; a fork waits for the images that are being segmented. CUDA
itself does not survive a fork: spawn processes that use a GPU.

Tensors: whatever has `__dlpack__` and is in the CPU's memory is taken, and all arrays that are returned have it, so that
`torch.from_dlpack(model.logits(pixels))` needs no copy.
"""

from candle_deeplab._native import (
    ConvertError,
    DataError,
    DownloadError,
    Error,
    ImageError,
    Model,
    ModelError,
    Segmentation,
    __version__,
    convert,
    evaluate,
    export_onnx,
    load,
    models,
    verify,
)

__all__ = [
    "ConvertError",
    "DataError",
    "DownloadError",
    "Error",
    "ImageError",
    "Model",
    "ModelError",
    "Segmentation",
    "__version__",
    "convert",
    "evaluate",
    "export_onnx",
    "load",
    "models",
    "verify",
]
