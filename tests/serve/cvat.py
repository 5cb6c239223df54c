"""Checks a running `candle-deeplab serve` as the functions that CVAT calls.

    pip install requests numpy pillow
    python tests/serve/cvat.py ADDRESS PROGRAM

The requests are those of CVAT's server (LambdaGateway in cvat/apps/lambda_manager/views.py), and the answers are read by its
rules (LambdaFunction and DetectionResultConverter there). The masks must be equal to what `PROGRAM segment --format npy`
writes for the same file.
"""

import base64
import json
import pathlib
import re
import sys
import tempfile

import numpy as np
import requests
from PIL import Image, ImageOps

from common import PHOTO, check, segment

TIMEOUT = 120




class Gateway:
    """CVAT's side, with CVAT_NUCLIO_INVOKE_METHOD=dashboard."""

    def __init__(self, url):
        self.url = url

    def http(self, method, path, headers=None, **body):
        headers = {
            "x-nuclio-project-name": "cvat",
            "x-nuclio-function-namespace": "nuclio",
            "x-nuclio-invoke-via": "domain-name",
            "X-Nuclio-Invoke-Timeout": f"{TIMEOUT}s",
        } | (headers or {})
        return requests.request(method, self.url + path, headers=headers, timeout=TIMEOUT, **body)

    def list(self):
        return self.http("get", "/api/functions")

    def get(self, function):
        return self.http("get", f"/api/functions/{function}")

    def invoke(self, function, **body):
        headers = {"x-nuclio-function-name": function, "x-nuclio-path": "/"}
        return self.http("post", "/api/function_invocations", headers, **body)


def check_function(data):
    """The fields that CVAT reads, of the types that it takes. Returns the names of the labels."""
    name = data["metadata"]["name"]
    check(re.fullmatch("[a-zA-Z0-9_.-]+", name), f"CVAT's addresses can hold the id {name}")
    notes = data["metadata"]["annotations"]
    check(all(isinstance(note, str) for note in notes.values()), "all annotations are texts")
    check(notes["type"] == "detector", "it is a detector")
    check(notes["name"] and notes["framework"] and int(notes.get("version", "1")) >= 1, "it has a name, a framework, a version")
    spec = json.loads(notes["spec"])
    labels = [label["name"] for label in spec]
    check(labels and len(labels) == len(set(labels)), f"it has {len(labels)} labels, all different")
    check(all(label["type"] == "mask" for label in spec), "all are masks")
    check(data["spec"]["description"], "it has a description")
    # Old versions of CVAT read the state without asking whether it is there.
    check(data["status"]["state"] == "ready", "it is ready")
    check(isinstance(data["status"].get("httpPort", 0), int), "its port is a number")
    return labels


def pixels_of(mask, shape):
    """The mask over the whole image. CVAT gets the pixels of a box, row by row, and then the box, its last pixels included."""
    *pixels, left, top, right, bottom = mask
    height, width = shape
    check(0 <= left <= right < width and 0 <= top <= bottom < height, f"the box {left, top, right, bottom} is in the image")
    box = np.array(pixels)
    check(box.size == (right - left + 1) * (bottom - top + 1), "the mask has the pixels of its box")
    check(np.isin(box, (0, 1)).all() and box.any(), "they are 0 or 1")
    check(np.array_equal(run_lengths_to_pixels(pixels_to_run_lengths(box), box.size), box), "CVAT can encode it")
    box = box.reshape(bottom - top + 1, right - left + 1)
    check(box[0].any() and box[-1].any() and box[:, 0].any() and box[:, -1].any(), "the box is as small as can be")
    whole = np.zeros(shape, bool)
    whole[top : bottom + 1, left : right + 1] = box
    return whole


def pixels_to_run_lengths(pixels):
    """As datumaro's mask_to_rle, which CVAT calls: the lengths of runs, that of zeros first."""
    changes = np.flatnonzero(np.diff(pixels, prepend=[1 - pixels[0]], append=[1 - pixels[-1]]))
    return np.diff(changes, prepend=[0]) if pixels[0] != 0 else np.diff(changes)


def run_lengths_to_pixels(lengths, count):
    values = np.arange(len(lengths)) % 2
    pixels = np.repeat(values, lengths)
    check(pixels.size == count, "the run lengths fill the box")
    return pixels


def check_items(items, labels, shape):
    """The union of the masks of each label."""
    found = {}
    for item in items:
        check(item["label"] in labels and item["type"] == "mask", f"the item is a mask of {item['label']}")
        check(0 <= float(item["confidence"]) <= 1, f"its confidence is {item['confidence']}")
        mask = pixels_of(item["mask"], shape)
        # CVAT takes the points, where there are any, if the user wants polygons.
        if "points" in item:
            points = np.array(item["points"], float)
            check(points.size % 2 == 0 and points.size >= 6, "its polygon has at least three corners")
            x, y = points[0::2], points[1::2]
            inside = x.min() >= 0 and y.min() >= 0 and x.max() <= shape[1] and y.max() <= shape[0]
            check(inside, "the polygon is in the image")
        union = found.setdefault(item["label"], np.zeros(shape, bool))
        check(not (union & mask).any(), "masks of a label do not overlap")
        union |= mask
    return found


def check_refusals(gateway, function, image):
    def refused(what, answer, status=None):
        right = answer.status_code == status if status else 400 <= answer.status_code < 500
        check(right and answer.json()["error"], f"{what} is refused with {answer.status_code}: {answer.json().get('error')}")

    refused("an unknown function", gateway.get("no-such-function"), 404)
    refused("a call of an unknown function", gateway.invoke("no-such-function", json={"image": image}), 404)
    refused("a call without an image", gateway.invoke(function, json={}))
    refused("an image that is no base64", gateway.invoke(function, json={"image": "%%%"}))
    refused("base64 that is no image", gateway.invoke(function, json={"image": "bm8gaW1hZ2U="}))
    refused("half an image", gateway.invoke(function, json={"image": image[: len(image) // 8 * 4]}))
    refused("an image that is a number", gateway.invoke(function, json={"image": 3}))
    refused("a body that is no JSON", gateway.invoke(function, data=b"\xff\xfe"))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    url, program = "http://" + sys.argv[1].removeprefix("http://").rstrip("/"), sys.argv[2]
    gateway = Gateway(url)
    model = next(m for m in requests.get(f"{url}/v1/models", timeout=10).json()["models"] if m["default"])
    classes = {c["id"]: c["name"] for c in model["classes"] if c["id"] != model["background"]}

    functions = gateway.list()
    check(functions.status_code == 200 and isinstance(functions.json(), dict), "the functions are an object")
    for function, data in functions.json().items():
        check(data["metadata"]["name"] == function, f"the key is the id {function}")
        check(gateway.get(function).json() == data, "asked for alone, it is the same")
        labels = check_function(data)
        if labels == list(classes.values()):
            chosen = function
    check("chosen" in locals(), f"the function {chosen} has the classes of the model, and no background")

    with tempfile.TemporaryDirectory() as folder:
        mirrored = pathlib.Path(folder) / "mirrored.png"
        ImageOps.mirror(Image.open(PHOTO).convert("RGB")).resize((301, 203)).save(mirrored)
        for file in (PHOTO, mirrored):
            image = base64.b64encode(file.read_bytes()).decode()
            answer = gateway.invoke(chosen, json={"image": image})
            check(answer.status_code == 200, f"{file.name} gets an answer")
            expected = segment(program, model["name"], file)
            there = {name: expected == number for number, name in classes.items() if (expected == number).any()}
            found = check_items(answer.json(), list(classes.values()), expected.shape)
            check(set(found) == set(there), f"the labels are {', '.join(sorted(there)) or 'none'}")
            for name, mask in there.items():
                check(np.array_equal(found[name], mask), f"the masks of {name} are together that of `segment`")

            # The function itself leaves out what the user does not want to see.
            for threshold in (0.5, 0.999):
                some = gateway.invoke(chosen, json={"threshold": threshold, "image": image}).json()
                right = all(float(item["confidence"]) >= threshold for item in some) and len(some) <= len(answer.json())
                check(right, f"with the threshold {threshold} there are {len(some)} of {len(answer.json())} masks")
        check_refusals(gateway, chosen, base64.b64encode(PHOTO.read_bytes()).decode())


if __name__ == "__main__":
    main()
