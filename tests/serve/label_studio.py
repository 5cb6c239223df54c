"""Checks a running `candle-deeplab serve` as an ML backend of Label Studio.

    pip install label-studio-sdk requests numpy pillow
    python tests/serve/label_studio.py ADDRESS PROGRAM

The requests are those of Label Studio 1.23.2 (label_studio/ml/api_connector.py), with its time limits. The answers are
checked and decoded by Label Studio's own package, and must be equal to what `PROGRAM segment --format npy` writes.
"""

import base64
import pathlib
import sys
import tempfile

import numpy as np
import requests
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image, ImageOps

from common import PHOTO, check, segment

# How long Label Studio waits, in seconds.
CONNECT, HEALTH, SETUP, PREDICT = 1, 1, 3, 100
PROJECT = "12.1700000000"




class LabelStudio:
    """The client's side: what MLApi of Label Studio sends."""

    def __init__(self, url):
        self.url = url

    def health(self):
        return requests.get(f"{self.url}/health", timeout=(CONNECT, HEALTH))

    def setup(self, config):
        body = {
            "project": PROJECT,
            "schema": config,
            "hostname": "http://localhost:8080",
            "access_token": "0123456789abcdef",
            "extra_params": None,
        }
        return requests.post(f"{self.url}/setup", json=body, timeout=(CONNECT, SETUP))

    def predict(self, config, images):
        body = {
            "tasks": [
                {"id": number, "data": {"photo": image}, "meta": {}, "project": 12, "annotations": [], "predictions": []}
                for number, image in enumerate(images, 1)
            ],
            "project": PROJECT,
            "label_config": config,
            "params": {"login": None, "password": None, "context": None},
        }
        return requests.post(f"{self.url}/predict", json=body, timeout=(CONNECT, PREDICT))


def label_config(labels):
    labels = "".join(f"<Label {label}/>" for label in labels)
    return (
        '<View><Header value="What is where?"/><Image name="img" value="$photo" zoom="true"/>'
        '<Choices name="light" toName="img"><Choice value="day"/><Choice value="night"/></Choices>'
        f'<BrushLabels name="brush" toName="img">{labels}</BrushLabels></View>'
    )


def data_uri(file):
    kind = {".png": "image/png", ".jpg": "image/jpeg"}[file.suffix]
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def decode(region):
    """The mask of a region, [H, W], true where the class is."""
    height, width = region["original_height"], region["original_width"]
    # The SDK counts on plain integers: what came over the network is a list of them.
    channels = decode_rle(region["value"]["rle"]).reshape(height, width, 4)
    check((channels == channels[..., :1]).all(), "the four channels of the mask are the same")
    check(np.isin(channels, (0, 255)).all(), "the mask is 0 or 255")
    return channels[..., 3] == 255


def check_prediction(prediction, config, labels, names, model):
    """`labels` are class ids [H, W], and `names` is what each class id is called in the configuration."""
    problems = LabelInterface(config).validate_prediction(prediction, return_errors=True)
    check(not problems, f"Label Studio takes the prediction {problems or ''}")
    # Label Studio skips tasks that have a prediction of the version which `/setup` said.
    check(prediction["model_version"] == model, "the prediction says the model's version")

    found = {}
    for region in prediction["result"]:
        check((region["from_name"], region["to_name"], region["type"]) == ("brush", "img", "brushlabels"), "the region is a brush")
        check((region["original_height"], region["original_width"]) == labels.shape, "it has the size of the image")
        check(region["value"]["format"] == "rle" and region["image_rotation"] == 0, "it is run-length encoded")
        name, = region["value"]["brushlabels"]
        check(name not in found, f"there is one region for {name}")
        found[name] = decode(region)
        same_bytes = region["value"]["rle"] == mask2rle(found[name].astype(np.uint8) * 255)
        print(f"    its bytes are {'those' if same_bytes else 'not those'} that the SDK writes")
    there = {name: labels == number for number, name in names.items() if (labels == number).any()}
    check(set(found) == set(there), f"the classes are {', '.join(sorted(there)) or 'none'}")
    for name, mask in there.items():
        check(np.array_equal(found[name], mask), f"the mask of {name} is equal to that of `segment`")


def check_refusals(studio, config):
    """Without `--allow-url` the server fetches nothing, and says so."""
    addresses = [
        "http://127.0.0.1:1/photo.jpg",
        "http://2130706433/photo.jpg",
        "http://[::ffff:127.0.0.1]/photo.jpg",
        "file:///etc/hostname",
        "/data/upload/1/photo.jpg",
        "/data/local-files/?d=photo.jpg",
        "s3://bucket/photo.jpg",
        "data:image/png;base64,bm8gaW1hZ2U=",
        "data:image/png;base64,%%%",
        "",
    ]
    for address in addresses:
        answer = studio.predict(config, [address])
        right = 400 <= answer.status_code < 500 and answer.json()["error"]
        check(right, f"{address!r} is refused with {answer.status_code}: {answer.json().get('error')}")
    for body in (b"", b"[]", b"{}", b'{"tasks": 3}', b"\xff\xfe", b"[" * 100_000):
        answer = requests.post(f"{studio.url}/predict", data=body, headers={"Content-Type": "application/json"})
        right = 400 <= answer.status_code < 500 and answer.json()["error"]
        check(right, f"the body {body[:20]!r} is refused with {answer.status_code}")
    bomb = '<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><View>&b;</View>'
    check(studio.setup(bomb).status_code < 500, "a configuration with entities does no harm")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    url, program = "http://" + sys.argv[1].removeprefix("http://").rstrip("/"), sys.argv[2]
    studio = LabelStudio(url)

    answer = studio.health()
    check(answer.status_code == 200 and answer.json()["status"] == "UP", "the backend is healthy")
    models = requests.get(f"{url}/v1/models", timeout=10).json()["models"]
    model = next(model for model in models if model["default"])
    classes = {c["id"]: c["name"] for c in model["classes"] if c["id"] != model["background"]}

    check(studio.setup("<View></View>").status_code == 200, "a project without a configuration is set up")
    # The names of the data set, but for one: it has another spelling, and one has an alias. The last is no class at all.
    first, second, *others = classes.values()
    labels = [f'value="{name}"' for name in others]
    labels += [f'value="{first.upper()}"', f'value="something else" alias="{second}"', 'value="dragon"']
    config = label_config(labels)
    names = {number: first.upper() if name == first else name for number, name in classes.items()}
    answer = studio.setup(config)
    check(answer.status_code == 200, "a project is set up")
    version = answer.json()["model_version"]
    check(isinstance(version, str) and version, f"the model's version is {version}")

    with tempfile.TemporaryDirectory() as folder:
        mirrored = pathlib.Path(folder) / "mirrored.png"
        ImageOps.mirror(Image.open(PHOTO).convert("RGB")).resize((301, 203)).save(mirrored)
        files = [PHOTO, mirrored]
        expected = [segment(program, model["name"], file) for file in files]

        answer = studio.predict(config, [data_uri(file) for file in files])
        check(answer.status_code == 200, "two tasks get an answer")
        results = answer.json()["results"]
        check(len(results) == 2, "there is a result for each task")
        for prediction, labels in zip(results, expected):
            check_prediction(prediction, config, labels, names, version)

        # Only what the project has a label for is answered, under that label.
        present = [number for number in np.unique(expected[0]) if number in classes]
        one = int(present[0])
        config = label_config([f'value="{classes[one]}"'])
        prediction, = studio.predict(config, [data_uri(PHOTO)]).json()["results"]
        check_prediction(prediction, config, expected[0], {one: classes[one]}, version)
        config = label_config(['value="dragon"'])
        prediction, = studio.predict(config, [data_uri(PHOTO)]).json()["results"]
        check(prediction["result"] == [], "a project with none of the classes gets an empty result")
        check_refusals(studio, config)


if __name__ == "__main__":
    main()
