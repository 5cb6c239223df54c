"""Checks a running `candle-deeplab serve` with the unmodified client of Triton, by JSON and by binary tensors.

    pip install "tritonclient[http]" numpy pillow
    python tests/serve/triton.py ADDRESS PROGRAM

ADDRESS is where the server listens, such as 127.0.0.1:8080, and PROGRAM is the candle-deeplab program. Each answer must be
equal to what `PROGRAM segment --format npy` writes for the same file.
"""

import pathlib
import sys
import tempfile

import numpy as np
import tritonclient.http as triton
from PIL import Image, ImageOps
from tritonclient.utils import InferenceServerException

from common import PHOTO, check, segment

# Probabilities of a batch may be summed in another order than those of a single image.
PROBABILITY_TOLERANCE = 1e-5




def pixels_input(files, binary):
    """The pixels of files of the same size as one UINT8 tensor."""
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
    return tensor.set_data_from_numpy(pixels, binary_data=binary)


def files_input(files):
    """The files as they are, as one BYTES tensor. JSON cannot hold them: BYTES are UTF-8 there."""
    contents = np.array([file.read_bytes() for file in files], dtype=np.object_)
    tensor = triton.InferInput("image", [len(files)], "BYTES")
    return tensor.set_data_from_numpy(contents, binary_data=True)


def wanted(binary, *names):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def refused(what, ask, status=None):
    """The server answers this with a client error that says what is wrong."""
    try:
        ask()
    except InferenceServerException as error:
        code = error.status() or ""
        right = code.startswith("4") if status is None else code == status
        check(right and error.message(), f"{what} is refused with {code}: {error.message()}")
    else:
        sys.exit(f"failed: {what} was not refused")


def check_metadata(client, model):
    check(client.is_server_live() and client.is_server_ready(), "the server is live and ready")
    server = client.get_server_metadata()
    check(server["name"] and server["version"], f"the server is {server['name']} {server['version']}")
    check("binary_tensor_data" in server["extensions"], "it has the binary tensor extension")

    metadata = client.get_model_metadata(model)
    check(metadata["name"] == model and metadata["platform"], "the model has a name and a platform")
    image, = metadata["inputs"]
    check((image["name"], image["datatype"], image["shape"]) == ("image", "UINT8", [-1, -1, -1, 3]), "its input is `image`")
    outputs = {output["name"]: output for output in metadata["outputs"]}
    check(outputs["label_map"]["datatype"] == "UINT8" and len(outputs["label_map"]["shape"]) == 3, "it has `label_map`")
    check(outputs["probabilities"]["datatype"] == "FP32" and len(outputs["probabilities"]["shape"]) == 4, "it has `probabilities`")

    version = metadata["versions"][0]
    check(client.is_model_ready(model) and client.is_model_ready(model, version), "the model is ready, its version too")
    check(client.get_model_metadata(model, version)["name"] == model, "the version has metadata")
    check(not client.is_model_ready("no-such-model"), "an unknown model is not ready")
    index = client.get_model_repository_index()
    check(any(entry["name"] == model and entry["state"] == "READY" for entry in index), "the repository's index has it")
    refused("the metadata of an unknown model", lambda: client.get_model_metadata("no-such-model"), "404")
    return version


def check_labels(client, model, version, files, expected):
    single, batch = files[:1], files[:2]
    for binary_in in (False, True):
        for binary_out in (False, True):
            how = f"input as {'binary' if binary_in else 'JSON'}, output as {'binary' if binary_out else 'JSON'}"
            for some in (single, batch):
                answer = client.infer(
                    model, [pixels_input(some, binary_in)], outputs=wanted(binary_out, "label_map"), request_id="a request"
                )
                labels = answer.as_numpy("label_map")
                right = labels.dtype == np.uint8 and np.array_equal(labels, np.stack(expected[: len(some)]))
                check(right, f"{len(some)} image(s), {how}: equal to `segment`")
                check(answer.get_response()["id"] == "a request", "the answer has the id of the request")
                output = answer.get_output("label_map")
                check(("data" in output) != binary_out, "the output comes in the form that was asked for")

    answer = client.infer(model, [pixels_input(single, True)])
    check(np.array_equal(answer.as_numpy("label_map")[0], expected[0]), "without a list of outputs there is `label_map`")
    check("data" not in answer.get_output("label_map"), "`binary_data_output` makes it binary")
    answer = client.infer(model, [pixels_input(single, True)], model_version=version)
    check(np.array_equal(answer.as_numpy("label_map")[0], expected[0]), "so it is for a version")
    check(answer.get_response()["model_name"] == model, "the answer names the model")


def check_files(client, model, files, expected):
    answer = client.infer(model, [files_input(files[:2])], outputs=wanted(True, "label_map"))
    check(np.array_equal(answer.as_numpy("label_map"), np.stack(expected[:2])), "two encoded files: equal to `segment`")
    answer = client.infer(model, [files_input([PHOTO])], outputs=wanted(False, "label_map"))
    return answer.as_numpy("label_map")[0]


def check_probabilities(client, model, file, expected):
    for binary in (False, True):
        answer = client.infer(model, [pixels_input([file], True)], outputs=wanted(binary, "label_map", "probabilities"))
        probabilities = answer.as_numpy("probabilities")[0]
        check(probabilities.dtype == np.float32 and probabilities.shape == expected.shape, "probabilities are FP32 [N,H,W,C]")
        difference = np.abs(probabilities - expected).max()
        how = "binary" if binary else "JSON"
        check(difference <= PROBABILITY_TOLERANCE, f"probabilities as {how} differ from `segment` by at most {difference:.1e}")
        check(np.array_equal(probabilities.argmax(-1), answer.as_numpy("label_map")[0]), "the most probable class is the label")

    # One output in each form in the same answer.
    outputs = wanted(False, "label_map") + wanted(True, "probabilities")
    answer = client.infer(model, [pixels_input([file], True)], outputs=outputs)
    same = np.abs(answer.as_numpy("probabilities")[0] - expected).max() <= PROBABILITY_TOLERANCE
    check(same and "data" in answer.get_output("label_map"), "outputs of both forms may be mixed")


def check_compression(client, model, file, expected):
    for algorithm in ("gzip", "deflate"):
        answer = client.infer(
            model,
            [pixels_input([file], True)],
            outputs=wanted(True, "label_map"),
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
        check(np.array_equal(answer.as_numpy("label_map")[0], expected), f"a request compressed with {algorithm} is understood")


def check_many_at_once(address, model, files, expected):
    with triton.InferenceServerClient(address, concurrency=4) as client:
        inputs = [[pixels_input([files[i % 2]], True)] for i in range(12)]
        requests = [client.async_infer(model, tensors) for tensors in inputs]
        labels = [request.get_result().as_numpy("label_map")[0] for request in requests]
    right = all(np.array_equal(label, expected[i % 2]) for i, label in enumerate(labels))
    check(right, "twelve requests over four connections each get their own answer")


def check_refusals(client, model, files, small):
    pixels = np.zeros([1, 8, 8, 3], np.uint8)

    def infer(name="image", data=pixels, datatype="UINT8", to=model, outputs=None):
        tensor = triton.InferInput(name, list(data.shape), datatype).set_data_from_numpy(data)
        return lambda: client.infer(to, [tensor], outputs=outputs)

    refused("an unknown model", infer(to="no-such-model"), "404")
    refused("an unknown version", lambda: client.get_model_metadata(model, "77"), "404")
    refused("an input of another name", infer(name="picture"))
    refused("an input of another type", infer(data=pixels.astype(np.float32), datatype="FP32"))
    refused("two channels", infer(data=pixels[..., :2]))
    refused("an image without pixels", infer(data=pixels[:, :0]))
    refused("no image at all", infer(data=pixels[:0]))
    refused("an unknown output", infer(outputs=wanted(True, "depth")))
    refused("files of different sizes in a batch", lambda: client.infer(model, [files_input([files[0], small])]))
    garbage = np.array([b"this is no image"], dtype=np.object_)
    refused("bytes that are no image", infer(data=garbage, datatype="BYTES"))
    refused("an unknown model to load", lambda: client.load_model("no-such-model"))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    address, program = sys.argv[1].removeprefix("http://").rstrip("/"), sys.argv[2]
    with triton.InferenceServerClient(address) as client, tempfile.TemporaryDirectory() as folder:
        model = client.get_model_repository_index()[0]["name"]
        version = check_metadata(client, model)

        # PNG: every decoder makes the same pixels of it. JPEG decoders may differ by one in a colour.
        folder = pathlib.Path(folder)
        photo = Image.open(PHOTO).convert("RGB")
        pictures = {"photo": photo, "mirrored": ImageOps.mirror(photo), "small": photo.resize((64, 48))}
        for name, picture in pictures.items():
            picture.save(folder / f"{name}.png")
        files = [folder / "photo.png", folder / "mirrored.png"]
        small = folder / "small.png"
        expected = [segment(program, model, file) for file in files]

        check_labels(client, model, version, files, expected)
        of_jpeg = check_files(client, model, files, expected)
        check(np.array_equal(of_jpeg, segment(program, model, PHOTO)), "a JPEG file: equal to `segment`")
        check_probabilities(client, model, small, segment(program, model, small, probabilities=True))
        check_compression(client, model, files[0], expected[0])
        check_many_at_once(address, model, files, expected)
        check_refusals(client, model, files, small)
        labels = client.infer(model, [pixels_input(files[:1], True)]).as_numpy("label_map")[0]
        check(np.array_equal(labels, expected[0]), "after all this the first image gets its answer again")


if __name__ == "__main__":
    main()
