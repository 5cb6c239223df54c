"""Models by name and path, and the options that they run with."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN, PHOTO

import candle_deeplab as cd


def test_the_model_in_the_box_says_what_it_is(model: cd.Model) -> None:
    assert (model.name, model.device, model.dtype) == ("bundled", "cpu", "f32")
    assert len(model.labels) == 21 and model.labels[15] == "person"
    assert model.colors.dtype == np.uint8 and model.colors.shape == (21, 3)
    assert model.colors[15].tolist() == [192, 128, 128]
    assert "backbone" in model.taps
    assert repr(model) == "<candle_deeplab.Model bundled: 21 classes, f32 on cpu>"


def test_the_registry_is_listed() -> None:
    models = {entry["id"]: entry for entry in cd.models()}
    assert models["deeplabv3plus-xception65-voc"]["backbone"] == "xception65"
    assert all(entry["description"] for entry in models.values())


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"model": "deeplabv3plus-xception65-foc"}, cd.ModelError, "did you mean deeplabv3plus-xception65-voc"),
    ({"model": "./no/such/model"}, cd.ModelError, "no such file or directory"),
    ({"model": PHOTO.parent}, cd.ModelError, "config.json"),
    ({"model": PHOTO}, cd.ConvertError, "photo.jpg"),
    ({"device": "gpu"}, ValueError, "`cuda:1`"),
    ({"dtype": "f16"}, ValueError, "`f32` or `bf16`"),
    ({"threads": 0}, ValueError, "`threads`"),
    ({"threads": 5000}, ValueError, "`threads`"),
    ({"threads": -1}, ValueError, "`threads`"),
    ({"overlap": -1}, ValueError, "`overlap`"),
    ({"output_stride": -8}, ValueError, "`output_stride`"),
    ({"namespace": ""}, ValueError, "`namespace`"),
    ({"scales": [1.0, 0.0]}, ValueError, "above 0"),
    ({"scales": [float("nan")]}, ValueError, "above 0"),
    ({"tile": 0}, ValueError, "`tile`"),
    ({"tile": (513, 1 << 20)}, ValueError, "`tile`"),
    ({"tile": [-1, 513]}, ValueError, "`tile`"),
    ({"tile": "513"}, TypeError, "height and width"),
    ({"tile": 64}, ValueError, "overlap"),
    ({"output_stride": 7}, cd.ModelError, "8, 16 or 32"),
]


@pytest.mark.parametrize("arguments, error, said", WRONG)
def test_what_is_wrong_is_said(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        cd.load(**arguments)


@pytest.mark.parametrize("device", ["cuda", "metal:1"])
def test_a_device_that_is_not_built_in_is_said(device: str) -> None:
    with pytest.raises(cd.ModelError, match=device.split(":")[0]):
        cd.load(device=device)


def test_the_network_is_not_used_if_it_may_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(cd.DownloadError, match="not in the cache"):
        cd.load("deeplabv3plus-xception65-voc", offline=True)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_model_is_loaded_again(protocol: int) -> None:
    model = cd.load(threads=1, scales=[0.75, 1.0], flip=True, tile=(300, 257), overlap=16)
    again = pickle.loads(pickle.dumps(model, protocol))
    assert repr(again) == repr(model)
    # The tiles and scales are the same, too.
    assert np.array_equal(again.segment(PHOTO).ids, model.segment(PHOTO).ids)


def test_a_path_means_the_same_after_pickling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cd.convert(GOLDEN / "tflite" / "int8.tflite", tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(cd.load("small"))
    monkeypatch.chdir("/")
    model = pickle.loads(pickled)
    assert Path(model.name) == tmp_path / "small"
    assert model.segment(PHOTO).size == cd.load().segment(PHOTO).size


def test_a_segmentation_is_not_pickled(model: cd.Model) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(model.segment(PHOTO))


def test_only_load_and_segment_make_objects() -> None:
    for made in (cd.Model, cd.Segmentation):
        with pytest.raises(TypeError):
            made()
