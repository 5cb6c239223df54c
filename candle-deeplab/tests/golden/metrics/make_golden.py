"""Scores of random label maps by other programs, for `candle_deeplab::metrics`.

Writes expected.json beside itself. Needs torch, torchmetrics and numpy. The label maps are not stored: both sides make them
from the same linear congruential generator.

- torchmetrics: MulticlassJaccardIndex, MulticlassAccuracy, MulticlassPrecision, MulticlassF1Score with ignore_index.
- mmsegmentation 1.2.2: `intersect_and_union` and `total_area_to_metrics` of mmseg/evaluation/metrics/iou_metric.py,
  repeated here line by line since the package needs mmcv, which needs to be compiled.
- the trimap: brute force over all offsets.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torchmetrics
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
)

IGNORE = 255


class Random:
    """Numbers of 31 bits: Knuth's MMIX generator, its upper bits."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n


def maps(seed, images, height, width, classes, labelled, predicted):
    """Pairs of label map and prediction: blocks of a random class, and a prediction that is right two times of three.

    Only classes below `labelled` are in the labels, and only those below `predicted` are predicted. One block in eight is
    ignored.
    """
    random, pairs = Random(seed), []
    for _ in range(images):
        blocks = [
            [IGNORE if random.below(8) == 0 else random.below(labelled) for _ in range(-(-width // 3))]
            for _ in range(-(-height // 3))
        ]
        label = np.array([[blocks[y // 3][x // 3] for x in range(width)] for y in range(height)], np.uint8)
        prediction = np.zeros_like(label)
        for y in range(height):
            for x in range(width):
                right = random.below(3) > 0 and label[y, x] < predicted
                prediction[y, x] = label[y, x] if right else random.below(predicted)
        pairs.append((label, prediction))
    return pairs


def of_torchmetrics(pairs, classes):
    labels = torch.from_numpy(np.stack([label for label, _ in pairs]).astype(np.int64))
    predictions = torch.from_numpy(np.stack([prediction for _, prediction in pairs]).astype(np.int64))

    def score(metric, **options):
        value = metric(num_classes=classes, ignore_index=IGNORE, **options)(predictions, labels)
        return value.tolist()

    return {
        "miou": score(MulticlassJaccardIndex, average="macro"),
        "iou": score(MulticlassJaccardIndex, average="none"),
        "fw_iou": score(MulticlassJaccardIndex, average="weighted"),
        "pixel_accuracy": score(MulticlassAccuracy, average="micro"),
        "accuracy": score(MulticlassAccuracy, average="none"),
        "precision": score(MulticlassPrecision, average="none"),
        "f1": score(MulticlassF1Score, average="none"),
    }


def of_mmseg(pairs, classes):
    total = [np.zeros(classes) for _ in range(4)]
    for label, prediction in pairs:
        # intersect_and_union
        mask = label != IGNORE
        prediction, label = prediction[mask], label[mask]
        intersect = prediction[prediction == label]
        area = lambda values: np.histogram(values, bins=classes, range=(0, classes - 1))[0]
        area_intersect, area_prediction, area_label = area(intersect), area(prediction), area(label)
        areas = (area_intersect, area_prediction + area_label - area_intersect, area_prediction, area_label)
        total = [a + b for a, b in zip(total, areas)]
    intersect, union, predicted, labelled = total
    # total_area_to_metrics, with nan_to_num=None, and compute_metrics' nanmean
    with np.errstate(divide="ignore", invalid="ignore"):
        iou, accuracy, dice = intersect / union, intersect / labelled, 2 * intersect / (predicted + labelled)
        precision = intersect / predicted
    none = lambda values: [None if math.isnan(value) else value for value in values]
    return {
        "iou": none(iou),
        "accuracy": none(accuracy),
        "dice": none(dice),
        "precision": none(precision),
        "miou": np.nanmean(iou),
        "mean_accuracy": np.nanmean(accuracy),
        "mean_dice": np.nanmean(dice),
        "mean_precision": np.nanmean(precision),
        "pixel_accuracy": intersect.sum() / labelled.sum(),
        "fw_iou": np.nansum(iou * labelled) / labelled.sum(),
    }


def trimap(pairs, classes, widths):
    """mIoU of the pixels that have a pixel with another label within each width."""
    scores = []
    for width in widths:
        band = []
        for label, prediction in pairs:
            height, columns = label.shape
            near = np.zeros(label.shape, bool)
            for dy in range(-width, width + 1):
                for dx in range(-width, width + 1):
                    if dy * dy + dx * dx > width * width:
                        continue
                    ys = slice(max(0, -dy), min(height, height - dy))
                    xs = slice(max(0, -dx), min(columns, columns - dx))
                    there_y = slice(max(0, dy), min(height, height + dy))
                    there_x = slice(max(0, dx), min(columns, columns + dx))
                    near[ys, xs] |= label[ys, xs] != label[there_y, there_x]
            band.append((np.where(near, label, IGNORE), prediction))
        scores.append({"width": width, "miou": of_mmseg(band, classes)["miou"]})
    return scores


def case(**parameters):
    pairs, classes = maps(**parameters), parameters["classes"]
    return {
        **parameters,
        "torchmetrics": of_torchmetrics(pairs, classes),
        "mmseg": of_mmseg(pairs, classes),
        "trimap": trimap(pairs, classes, [1, 2, 3]),
    }


cases = [
    # Every class is labelled and predicted.
    case(seed=1, images=3, height=20, width=31, classes=5, labelled=5, predicted=5),
    # 2 of 7 are absent, and 1 is predicted only.
    case(seed=2, images=2, height=17, width=24, classes=7, labelled=4, predicted=5),
    # 3 of 8 are never predicted, 2 are absent.
    case(seed=3, images=2, height=16, width=16, classes=8, labelled=6, predicted=3),
    case(seed=4, images=1, height=48, width=40, classes=150, labelled=120, predicted=150),
]
made = {"made_with": {"torchmetrics": torchmetrics.__version__, "torch": torch.__version__}, "cases": cases}
Path(__file__).with_name("expected.json").write_text(json.dumps(made, indent=None, separators=(",", ":")) + "\n")
