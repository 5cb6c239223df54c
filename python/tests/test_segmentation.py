"""What is made of a segmented image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTO
from numpy.typing import NDArray
from PIL import Image

import candle_deeplab as cd


@pytest.fixture(scope="module")
def seg(model: cd.Model) -> cd.Segmentation:
    return model.segment(PHOTO, probabilities=True)


def test_ids_are_the_segmentations_own_memory(seg: cd.Segmentation, photo: NDArray[np.uint8]) -> None:
    ids = seg.ids
    assert (ids.dtype, ids.shape, seg.size) == (np.uint8, photo.shape[:2], photo.shape[1::-1])
    assert np.shares_memory(ids, seg.ids)
    assert ids.base is seg and not ids.flags.writeable and ids.flags.c_contiguous
    with pytest.raises(ValueError):
        ids[0, 0] = 1
    with pytest.raises(ValueError):
        ids.flags.writeable = True


def test_ids_outlive_the_segmentation(model: cd.Model) -> None:
    ids = model.segment(PHOTO).ids
    copy = ids.copy()
    # Somebody else's memory would have been written to by now.
    for _ in range(3):
        model.segment(PHOTO)
    assert np.array_equal(ids, copy)


def test_shares_are_by_name_and_the_largest_comes_first(seg: cd.Segmentation) -> None:
    ids, counts = np.unique(seg.ids, return_counts=True)
    assert seg.shares == {seg.labels[id]: count / seg.ids.size for id, count in zip(ids, counts, strict=True)}
    assert list(seg.shares.values()) == sorted(seg.shares.values(), reverse=True)
    assert seg.shares["person"] > 0.2
    assert sum(seg.shares.values()) == pytest.approx(1)


def test_probabilities_agree_with_the_ids(seg: cd.Segmentation, model: cd.Model) -> None:
    probabilities = seg.probabilities()
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (*seg.ids.shape, len(model.labels)))
    assert np.allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=-1) == seg.ids).mean() > 0.9999


def test_probabilities_that_were_not_kept_are_an_error(model: cd.Model) -> None:
    with pytest.raises(ValueError, match="probabilities=True"):
        model.segment(PHOTO).probabilities()


def test_an_overlay_is_between_the_photograph_and_the_colours(model: cd.Model, photo: NDArray[np.uint8]) -> None:
    seg = model.segment(photo)
    overlay = seg.overlay()
    assert (overlay.dtype, overlay.shape) == (np.uint8, photo.shape)
    background = seg.ids == 0
    assert not np.array_equal(overlay, photo)
    # Away from outlines and names, the background is left as it is.
    assert (overlay[background] == photo[background]).mean() > 0.9
    overlay[:] = 0
    assert seg.overlay().any()
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="opacity"):
            seg.overlay(opacity)


def test_a_mask_is_a_png_of_ids_with_the_data_sets_colours(seg: cd.Segmentation, model: cd.Model) -> None:
    mask = Image.open(io.BytesIO(seg.mask()))
    assert mask.mode == "P" and np.array_equal(np.asarray(mask), seg.ids)
    palette = mask.getpalette()
    assert palette is not None
    assert np.array_equal(np.reshape(palette, (-1, 3))[: len(model.labels)], model.colors)


def test_run_lengths_have_the_classes_but_the_background(seg: cd.Segmentation) -> None:
    results = seg.rle(42)
    assert {result["category_name"] for result in results} == seg.shares.keys() - {"background"}
    for result in results:
        assert result["image_id"] == 42 and seg.labels[result["category_id"]] == result["category_name"]
        assert result["segmentation"]["size"] == list(seg.ids.shape)
        assert 0.2 < result["score"] <= 1


def test_polygons_count_the_pixels(seg: cd.Segmentation) -> None:
    collection = seg.geojson()
    assert collection["type"] == "FeatureCollection"
    names = {feature["properties"]["name"] for feature in collection["features"]}
    assert names and names == seg.shares.keys() - {"background"}
    for feature in collection["features"]:
        properties = feature["properties"]
        assert properties["pixels"] == np.count_nonzero(seg.ids == properties["class"])


def test_a_file_is_replaced_only_if_that_is_wanted(seg: cd.Segmentation, tmp_path: Path) -> None:
    path = tmp_path / "photo.mask.png"
    path.write_text("mine")
    with pytest.raises(cd.Error, match="replace=True"):
        seg.save(path, format="mask")
    assert path.read_text() == "mine"
    seg.save(str(path), format="mask", replace=True)
    assert path.read_bytes() == seg.mask()
    assert list(tmp_path.iterdir()) == [path]


def test_the_extension_chooses_the_encoding(seg: cd.Segmentation, tmp_path: Path) -> None:
    for extension, format in [("png", "PNG"), ("jpg", "JPEG"), ("JPEG", "JPEG"), ("webp", "WEBP")]:
        seg.save(tmp_path / f"overlay.{extension}", opacity=0.3)
        assert Image.open(tmp_path / f"overlay.{extension}").format == format
    overlay = np.asarray(Image.open(tmp_path / "overlay.png"))
    assert np.array_equal(overlay, seg.overlay(0.3))


@pytest.mark.parametrize(
    "name, format, said",
    [
        ("a.gif", "overlay", "`.png`, `.jpg`, `.webp`"),
        ("a", "overlay", "`.png`"),
        ("a.jpg", "mask", "`.png`"),
        ("a.png", "json", "`.json`"),
        ("a.png", "polygons", "`geojson`"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(
    seg: cd.Segmentation, tmp_path: Path, name: str, format: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        seg.save(tmp_path / name, format=format)  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_an_error(seg: cd.Segmentation, tmp_path: Path) -> None:
    with pytest.raises(cd.Error, match="no"):
        seg.save(tmp_path / "no" / "a.png")


def test_nothing_was_cut_into_tiles(seg: cd.Segmentation) -> None:
    assert seg.tiles is None
    assert "photo.jpg" in repr(seg)
