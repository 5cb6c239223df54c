"""Checks a running `candle-deeplab serve` against its own OpenAPI document.

    pip install schemathesis requests numpy
    python tests/serve/schema.py ADDRESS PROGRAM [REQUESTS]

Real requests, in every format, must get what the document says. Then Schemathesis makes REQUESTS (100 by default) requests
for each operation out of the document, right and wrong ones: no answer may be a 5xx, and each must have a status, a content
type and a body that the document describes. PROGRAM is not needed; it is there so that all checks are run alike.
"""

import subprocess
import sys
import tempfile

import requests
import schemathesis

from common import PHOTO, check

FORMATS = "overlay color contours mask ids confidence json rle geojson npy probs".split()
CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)



def check_real_requests(url, document):
    """Generated bodies are hardly ever an image. These are."""
    photo = PHOTO.read_bytes()
    segment = document["/v1/segment"]["POST"]

    def post(what, status, operation=segment, **request):
        path = operation.path
        answer = requests.post(url + path, timeout=60, **request)
        check(answer.status_code == status, f"{what} gets {answer.status_code} {answer.headers.get('Content-Type')}")
        operation.validate_response(answer)
        return answer

    jpeg = {"Content-Type": "image/jpeg"}
    for name in FORMATS:
        post(f"format={name}", 200, params={"format": name}, data=photo, headers=jpeg)
    cut = {"format": "cutout", "cutout": "person"}
    post("format=cutout", 200, params=cut, data=photo, headers=jpeg)
    answer = post("several formats", 200, params={"format": "mask,confidence,json"}, data=photo, headers=jpeg)
    check(answer.headers["Content-Type"].startswith("multipart/form-data"), "several formats come as multipart/form-data")
    for accept in ("image/jpeg", "image/png", "image/webp", "application/json", "application/geo+json", "*/*"):
        answer = post(f"Accept: {accept}", 200, data=photo, headers=jpeg | {"Accept": accept})
        kind = answer.headers["Content-Type"].split(";")[0]
        check(kind == accept or accept == "*/*" and kind == "image/jpeg", f"it is {kind}")
    check(answer.headers["X-Request-Id"] and "compute" in answer.headers["Server-Timing"], "it has an id and timings")
    post("a form", 200, files={"image": ("photo.jpg", photo, "image/jpeg")}, data={"format": "json"})
    post("any bytes", 200, data=photo, headers={"Content-Type": "application/octet-stream"})

    post("a text", 415, data=b"no image", headers=jpeg)
    post("an unknown format", 400, params={"format": "oil"}, data=photo, headers=jpeg)
    post("an unknown class", 400, params={"classes": "dragon"}, data=photo, headers=jpeg)
    post("an unknown model", 404, params={"model": "no-such-model"}, data=photo, headers=jpeg)
    answer = requests.post(f"{url}/v1/segment", json={"url": "http://127.0.0.1:1/photo.jpg"}, timeout=10)
    check(400 <= answer.status_code < 500 and answer.json()["error"], f"a URL is refused with {answer.status_code}")
    segment.validate_response(answer)

    for path in ("/v1/models", "/health", "/metrics", "/v2", "/v2/health/live", "/v2/health/ready", "/api/functions"):
        answer = requests.get(url + path, timeout=10)
        check(answer.status_code == 200, f"GET {path} gets 200")
        document[path]["GET"].validate_response(answer)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    url = "http://" + sys.argv[1].removeprefix("http://").rstrip("/")
    count = sys.argv[3] if len(sys.argv) == 4 else "100"
    check_real_requests(url, schemathesis.openapi.from_url(f"{url}/openapi.json"))

    # The phase that reads operations' links is left out: the document has none. Model control would unload the models.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
        command += [f"{url}/openapi.json", "--url", url, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]
        command += ["--max-examples", count, "--seed", "1", "--continue-on-failure", "--warnings", "off"]
        command += ["--request-timeout", "60", "--exclude-path-regex", "/(load|unload)$"]
        result = subprocess.run(command, cwd=folder)
    check(result.returncode == 0, "Schemathesis found nothing")
    check(requests.get(f"{url}/v2/health/ready", timeout=10).status_code == 200, "the server is ready after all this")


if __name__ == "__main__":
    main()
