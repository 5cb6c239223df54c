"""What pycocotools makes of a label map: the results that a program should write for it, and their evaluation.

python make_golden.py FOLDER, with numpy and pycocotools, writes FOLDER/results.json. The label map is ../masks/labels.npy;
the ground truth is the same map moved by one column, so that the evaluation has something to find.
"""

import json
import pathlib
import sys

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

IMAGE = 397133
NAMES = {3: "bird", 8: "cat", 15: "person"}  # PASCAL VOC's, of the classes that are drawn

labels = np.load(pathlib.Path(__file__).parent.parent / "masks" / "labels.npy")


def rle(ids, category):
    encoded = mask.encode(np.asfortranarray((ids == category).astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def annotation(number, category):
    segmentation = rle(np.roll(labels, 1, axis=1), category)
    area, box = float(mask.area(segmentation)), list(mask.toBbox(segmentation))
    return dict(id=number, image_id=IMAGE, category_id=category, segmentation=segmentation, area=area, bbox=box, iscrowd=0)


results = [
    dict(image_id=IMAGE, category_id=category, category_name=name, segmentation=rle(labels, category), score=1.0)
    for category, name in NAMES.items()
]
truth = COCO()
truth.dataset = dict(
    info={},
    images=[dict(id=IMAGE, width=labels.shape[1], height=labels.shape[0])],
    categories=[dict(id=category, name=name) for category, name in NAMES.items()],
    annotations=[annotation(number, category) for number, category in enumerate(NAMES, 1)],
)
truth.createIndex()
evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "segm")
evaluation.evaluate()
evaluation.accumulate()
evaluation.summarize()
golden = {"results": results, "ap": evaluation.stats[0], "ap50": evaluation.stats[1]}
(pathlib.Path(sys.argv[1]) / "results.json").write_text(json.dumps(golden) + "\n")
