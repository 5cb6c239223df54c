"""Checks the traces of `candle-deeplab serve`, built with the feature `otlp`, against OpenTelemetry's own messages.

    pip install opentelemetry-proto requests numpy
    cargo build --release --features otlp
    python tests/serve/otlp.py target/release/candle-deeplab

The script is the collector: it starts the server, sends it requests, ends it, and reads what came.
"""

import atexit
import http.server
import os
import signal
import subprocess
import sys
import threading

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from common import PHOTO, check

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(http.server.BaseHTTPRequestHandler):
    received = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, self.headers["Content-Type"], ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def value(attribute):
    return getattr(attribute.value, attribute.value.WhichOneof("value"))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
    server = subprocess.Popen(
        [sys.argv[1], "serve", "--listen", "127.0.0.1:0"], env=environment, stderr=subprocess.PIPE, text=True
    )
    atexit.register(server.kill)
    address = next(line.strip() for line in server.stderr if line.startswith("http://"))
    threading.Thread(target=server.stderr.read, daemon=True).start()
    session = requests.Session()
    while session.get(f"{address}/v2/health/ready").status_code != 200:
        pass
    trace = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    session.post(f"{address}/v1/segment", data=PHOTO.read_bytes(), headers=trace).raise_for_status()
    wrong = session.post(f"{address}/v1/segment?format=oil", data=b"x", headers=trace | {"X-Request-Id": "wrong-1"})
    check(wrong.status_code == 400, "a wrong request is refused")
    server.send_signal(signal.SIGTERM)
    check(server.wait(60) == 0, "the server ends with 0, and has sent its last traces")

    check(Collector.received, f"{len(Collector.received)} messages came")
    check(all(path == "/v1/traces" and kind == "application/x-protobuf" for path, kind, _ in Collector.received), "they are OTLP")
    resources = [spans for _, _, message in Collector.received for spans in message.resource_spans]
    names = {value(a) for r in resources for a in r.resource.attributes if a.key == "service.name"}
    check(names == {"candle-deeplab"}, f"the service is {names}")
    spans = [span for r in resources for scope in r.scope_spans for span in scope.spans]
    ours = [span for span in spans if span.trace_id.hex() == TRACE]
    requested = [span for span in ours if span.name == "request"]
    check(len(requested) == 2, "both requests are part of the client's trace")
    check(all(span.parent_span_id.hex() == PARENT for span in requested), "under the client's span")
    check(all(span.kind == span.SPAN_KIND_SERVER for span in requested), "as a server's")
    attributes = [{a.key: value(a) for a in span.attributes} for span in requested]
    check([a["http.response.status_code"] for a in attributes] == [200, 400], "with their statuses")
    check(all(a["route"] == "/v1/segment" and a["method"] == "POST" for a in attributes), "routes and methods")
    check(attributes[1]["id"] == "wrong-1", "and ids")
    stages = {span.name: span for span in ours if span.parent_span_id == requested[0].span_id}
    check(set(stages) == {"decode", "network", "encode"}, f"the first has the stages {sorted(stages)}")
    times = {a.key: value(a) for a in stages["network"].attributes}
    check(0 < times["computed"] <= 1e-9 * (stages["network"].end_time_unix_nano - stages["network"].start_time_unix_nano), f"{times}")


main()
