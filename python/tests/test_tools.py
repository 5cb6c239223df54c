"""Converting, comparing, exporting and judging."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN, PHOTO, Program
from PIL import Image

import candle_deeplab as cd

TFLITE = GOLDEN / "tflite"


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow MobileNetV2."""
    out = tmp_path_factory.mktemp("converted") / "model"
    cd.convert(TFLITE / "int8.tflite", out, license="apache-2.0", datasets=["voc"])
    return out


def test_a_checkpoint_becomes_a_model(tmp_path: Path) -> None:
    out = tmp_path / "model"
    report = cd.convert(TFLITE / "int8.tflite", out, labels="voc")
    assert {path.name for path in out.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert report["source"].endswith("int8.tflite") and report["out"] == str(out)
    assert report["parameters"] > 1000 and report["missing"]["count"] == 0
    assert cd.load(out).segment(PHOTO).size == Image.open(PHOTO).size


def test_a_model_is_replaced_only_if_that_is_wanted(converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    cd.convert(TFLITE / "int8.tflite", out)
    with pytest.raises(cd.ConvertError, match="`replace`"):
        cd.convert(TFLITE / "float16.tflite", out)
    cd.convert(TFLITE / "float16.tflite", out, dtype="f16", replace=True)
    weights = "model.safetensors"
    assert (out / weights).stat().st_size < (converted / weights).stat().st_size


def test_what_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(cd.ConvertError, match="photo.jpg"):
        cd.convert(PHOTO, tmp_path / "model")
    with pytest.raises(cd.ConvertError, match="no such file"):
        cd.convert(tmp_path / "model.ckpt", tmp_path / "model")
    with pytest.raises(ValueError, match="`f32` or `f16`"):
        cd.convert(PHOTO, tmp_path / "model", dtype="f64")  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())


def test_a_converted_model_is_the_same_network(converted: Path) -> None:
    comparison = cd.verify(converted, TFLITE / "int8.safetensors", tolerance=1e-4)
    assert comparison["passed"] and comparison["mask_agreement"] == 1
    assert comparison["max_abs_diff_over_std"] <= comparison["tolerance"] == 1e-4


def test_another_network_is_not_the_same(converted: Path) -> None:
    comparison = cd.verify(converted, TFLITE / "int8_per_tensor.safetensors")
    assert not comparison["passed"]
    with pytest.raises(cd.ConvertError):
        cd.verify(converted, PHOTO)
    with pytest.raises(ValueError, match="tolerance"):
        cd.verify(converted, TFLITE / "int8.safetensors", tolerance=float("nan"))


def test_an_export_is_an_onnx_file(model: cd.Model, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    report = cd.export_onnx(model, path, size=(65, 97))
    content = path.read_bytes()
    # The first field of a model is the version of the format, 8.
    assert content.startswith(b"\x08\x08") and report["bytes"] == len(content)
    assert (report["model"], report["size"], report["output"]) == ("bundled", (65, 97), "logits")
    with pytest.raises(cd.Error, match="replace=True"):
        cd.export_onnx(model, path, size=65)
    mask = cd.export_onnx(None, path, size=65, head="mask", output_stride=8, replace=True)
    assert (mask["output"], mask["size"], mask["output_stride"]) == ("mask", (65, 65), 8)
    with pytest.raises(ValueError, match="`logits` or `mask`"):
        cd.export_onnx(model, path, head="boxes")  # pyright: ignore[reportArgumentType]


def test_onnxruntime_computes_the_same(model: cd.Model, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    cd.export_onnx(model, tmp_path / "model.onnx", size=(65, 97))
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 3, 65, 97)).astype(np.float32)
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    [theirs] = session.run(["logits"], {"input": pixels})
    ours = model.logits(pixels)
    assert np.abs(ours - theirs).max() < 1e-3 * theirs.std()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of two images with label maps, in the classes of VOC; 255 is ignored."""
    random = np.random.default_rng(5)
    for name in ("a", "b"):
        for folder, array in {
            "images/val": random.integers(0, 256, (40, 48, 3), np.uint8),
            "labels/val": random.choice(np.array([0, 15, 255], np.uint8), (40, 48)),
        }.items():
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "data" / folder / f"{name}.png")
    return tmp_path / "data"


def predictions(data: Path, *names: str) -> Path:
    folder = data.parent / "predictions"
    folder.mkdir()
    for name in names:
        truth = np.asarray(Image.open(data / "labels/val" / f"{name}.png"))
        wrong = np.random.default_rng(len(name)).random(truth.shape) < 0.1
        Image.fromarray(np.where(wrong | (truth == 255), 0, truth).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def test_scores_are_the_programs(data: Path, program: Program) -> None:
    folder = predictions(data, "a", "b")
    report = cd.evaluate(folder, data, labels="voc", trimap=3, worst=1)
    flags = ["--predictions", folder, "--data", data, "--labels", "voc", "--trimap", 3, "--worst", 1, "--json"]
    theirs = json.loads(program("eval", *flags))
    for same in (report, theirs):
        assert same.pop("seconds") >= 0
    assert report == theirs
    assert 0.7 < report["miou"] < 1 and report["images"] == 2 and len(report["trimap"]) == 3
    assert [found["iou"] for found in report["classes"] if found["name"] == "cat"] == [None]


def test_a_part_of_the_images_is_judged(data: Path) -> None:
    folder = predictions(data, "a")
    assert cd.evaluate(folder, data, labels="voc", limit=1)["images"] == 1
    with pytest.raises(cd.DataError, match="1 of 2 predictions are missing: b.png"):
        cd.evaluate(folder, data, labels="voc")


def test_what_cannot_be_judged_is_said(data: Path) -> None:
    folder = predictions(data, "a", "b")
    with pytest.raises(cd.DataError, match="val"):
        cd.evaluate(folder, data, split="test", labels="voc")
    with pytest.raises(cd.DataError):
        cd.evaluate(folder, data / "no", labels="voc")
    with pytest.raises(ValueError, match="`kind`.*cityscapes"):
        cd.evaluate(folder, data, kind="coco")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`trimap`"):
        cd.evaluate(folder, data, trimap=257)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "a.png")
    with pytest.raises(cd.DataError, match="9×9"):
        cd.evaluate(folder, data, labels="voc")
