"""Sends `candle-deeplab serve` what it must refuse, hangs up on it, damages its models, memory and files, and checks that good requests still get right answers.

    python tests/serve/faults.py PROGRAM [--bad 10000] [--only STAGE,STAGE]

PROGRAM is the candle-deeplab program. The script starts its own servers, each on a free port. Every good answer must be
byte for byte what `PROGRAM segment --format mask` writes for the same file. After each stage the server must be alive,
must have logged no panic, and must have stayed below the stage's bound of memory; the peak (VmHWM) and what it still holds
(VmRSS) are printed. The first failure ends the script with 1.
"""

import argparse
import atexit
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs/pictures"
BUNDLED = ROOT / "candle-deeplab/assets/bundled"
SEGMENT = "/v1/segment?format=mask"
# Seconds that a client waits for a good answer. It is generous: the checks are of answers, and not of speed.
PATIENCE = 120
# Seconds in which the server must have ended what it cuts off, beyond its own limit.
SLACK = 10
# The server's limit for the head of a request, and between two bytes of a body, in seconds.
HEAD, PAUSE = 15, 10
# What a server that only refuses, or sees photographs, may take at its peak.
ORDINARY_MIB = 512
# What a server is told that it has (`ulimit -d`) where clients try to fill its memory.
LITTLE_MIB = 2048

stage = "start"


def fail(what):
    sys.exit(f"failed: {stage}: {what}")


def check(condition, what):
    if not condition:
        fail(what)
    print(f"ok: {what}", flush=True)


# Pictures


def png(width, height, kind=2, data=None, row=None):
    """A PNG file: of compressed `data`, or of one `row` of bytes that is repeated. Kind 0 is grey, 2 is RGB."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    if data is None:
        packer = zlib.compressobj(9)
        data = b"".join(packer.compress(b"\0" + row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gradient(width, height):
    return png(width, height, row=bytes(value for x in range(width) for value in (x % 256, 255 * x // width, 90)))


class Good:
    """A picture, and the mask that the program makes of it."""

    def __init__(self, program, name, content):
        with tempfile.TemporaryDirectory() as folder:
            file, out = pathlib.Path(folder) / name, pathlib.Path(folder) / "mask.png"
            file.write_bytes(content)
            subprocess.run([program, "segment", file, "--format", "mask", "-o", out], check=True, capture_output=True)
            self.name, self.content, self.mask = name, content, out.read_bytes()


# The server


class Server:
    """A server in a process of its own, which is ended with the `with` statement."""

    def __init__(self, program, *options, listen="127.0.0.1:0", files=None, memory_mib=None):
        def limit():
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            if memory_mib:
                resource.setrlimit(resource.RLIMIT_DATA, (memory_mib << 20, resource.RLIM_INFINITY))

        environment = {name: value for name, value in os.environ.items() if name != "CANDLE_DEEPLAB_API_KEY"}
        command = [program, "serve", "--listen", listen, "--quiet", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=limit, env=environment)
        # Wherever the script ends.
        atexit.register(self.process.kill)
        self.log = []
        for line in self.process.stderr:
            if line.startswith("http://"):
                self.address = line.strip().removeprefix("http://")
                break
            self.log.append(line)
        else:
            fail(f"the server ended before it listened: {''.join(self.log)}")
        # The rest is read, so that the server never waits for a reader.
        threading.Thread(target=self.log.extend, args=(self.process.stderr,), daemon=True).start()
        start = time.monotonic()
        while self.ask("GET", "/v2/health/ready").status != 200:
            if time.monotonic() - start > PATIENCE:
                fail("the server does not become ready")
            time.sleep(0.02)
        self.ready_after = time.monotonic() - start

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ask(self, method, path, body=None, headers={}, patience=PATIENCE):
        """One request over a connection of its own."""
        connection = http.client.HTTPConnection(self.address, timeout=patience)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())

    def connect(self, patience=PATIENCE, receive_buffer=None):
        host, port = self.address.rsplit(":", 1)
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(patience)
        connection.connect((host, int(port)))
        return connection

    def metric(self, name):
        """The sum over all labels."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line))

    def memory_mib(self, after=""):
        """The peak, and what it holds now. `after` says what was done, if the server has died of it."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        found = [re.search(rf"{name}:\s+(\d+)", status) for name in ("VmHWM", "VmRSS")]
        if None in found:
            code = self.process.wait(SLACK)
            time.sleep(0.1)
            fail(f"{after}the server ended with {code}: {''.join(self.log[-3:]).strip()}")
        return [int(kib[1]) / 1024 for kib in found]

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        """SIGTERM: the exit code, and the seconds that it took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            fail(f"the server has not ended {PATIENCE} seconds after SIGTERM")
        return code, time.monotonic() - start

    def is_well(self, goods, bound_mib=ORDINARY_MIB, patience=PATIENCE):
        """The server lives, answers good requests, has not panicked, and its memory was below the bound."""
        self.memory_mib()
        for good in goods:
            answer = self.ask("POST", SEGMENT, good.content, patience=patience)
            if (answer.status, answer.body) != (200, good.mask):
                fail(f"{good.name} gets {answer} instead of its mask")
        panics = [line for line in self.log if "panicked" in line]
        if panics:
            fail(f"the log has {panics[0].strip()}")
        peak, now = self.memory_mib()
        told = f"memory: peak {peak:.0f} MiB, now {now:.0f}; bound {bound_mib}"
        check(peak <= bound_mib, f"good requests get right answers; {told}")


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def __str__(self):
        return f"{self.status} {self.body[:200]!r}"

    def is_refusal(self, *statuses):
        """A client error, or one of these, with a sentence that says why."""
        right = self.status in statuses if statuses else 400 <= self.status < 500
        try:
            return right and bool(json.loads(self.body)["error"])
        except (ValueError, KeyError, TypeError):
            return False


class Traffic:
    """Good requests from several clients, each of which sends one after another, all over one connection if `keep`.

    At its end all answers must have been right. With `may_break`, connections may break, and requests may be refused with
    503, but an answer with 200 must be right nonetheless.
    """

    def __init__(self, server, goods, clients=2, keep=True, may_break=False):
        self.server, self.goods, self.keep, self.may_break = server, goods, keep, may_break
        # Of each request: when all of it had been sent, and what came of it.
        self.events, self.stopped = [], threading.Event()
        self.threads = [threading.Thread(target=self.client, args=(index,), daemon=True) for index in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stopped.set()
        if kind is None:
            self.join()
            wrong = self.wrong()
            told = f"{self.count('right')} right answers to {len(self.events)} good requests at the same time"
            check(not wrong, told + (f", and {wrong[0]}" if wrong else ", and no wrong one"))

    def join(self):
        for thread in self.threads:
            thread.join(2 * PATIENCE)
            if thread.is_alive():
                fail("a good request gets no answer")

    def wrong(self):
        accepted = ["right"] + self.may_break * ["broken", "refused"]
        return [what for _, what in self.events if what.split(":")[0] not in accepted]

    def count(self, what):
        return sum(event[1].split(":")[0] == what for event in self.events)

    def client(self, index):
        connection = None
        for good in itertools.cycle(self.goods[index % len(self.goods):] + self.goods[:index % len(self.goods)]):
            if self.stopped.is_set():
                break
            sent = None
            try:
                connection = connection or http.client.HTTPConnection(self.server.address, timeout=PATIENCE)
                connection.request("POST", SEGMENT, good.content)
                sent = time.monotonic()
                answer = Answer(connection.getresponse())
                if answer.status == 503 and self.may_break:
                    what = "refused: 503"
                    time.sleep(0.05)
                else:
                    right = (answer.status, answer.body) == (200, good.mask)
                    what = "right" if right else f"wrong: {good.name} gets {answer}"
                closes = answer.headers.get("Connection", "").lower() == "close"
            except (OSError, http.client.HTTPException) as error:
                what, closes = f"broken: {error!r}", True
                # It would be refused at once for as long as there is no server.
                time.sleep(0.05)
            self.events.append((sent, what))
            if connection and (closes or not self.keep):
                connection.close()
                connection = None


def head(length, path=SEGMENT, more=""):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def response_of(connection):
    """What the server answers over a socket; `None` where it hangs up without an answer."""
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        return Answer(response)
    except (OSError, http.client.HTTPException):
        return None


def reset(connection):
    """Hangs up with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def wait_until(is_true, seconds, what):
    start = time.monotonic()
    while not is_true():
        if time.monotonic() - start > seconds:
            fail(f"{what}: not within {seconds} seconds")
        time.sleep(0.1)
    return time.monotonic() - start


# The stages


def bombs(program, goods, args):
    claims = png(60_000, 60_000, data=zlib.compress(bytes(1000)))
    bomb = png(20_000, 20_000, kind=0, row=bytes(20_000))
    packer = zlib.compressobj(9, wbits=31)
    zeros = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    with Server(program) as server, Traffic(server, goods):
        for _ in range(5):
            answer = server.ask("POST", SEGMENT, claims)
            if not answer.is_refusal(413):
                fail(f"a PNG that claims 60,000×60,000 pixels gets {answer}")
        check(True, f"a PNG of {len(claims)} bytes that claims 60,000×60,000 pixels is refused: {answer}")
        for _ in range(5):
            answer = server.ask("POST", SEGMENT, bomb)
            if not answer.is_refusal(413):
                fail(f"a zip bomb gets {answer}")
        check(True, f"a PNG of {len(bomb) >> 10} KiB with 20,000×20,000 pixels is refused: {answer}")
        file = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(bomb) + 4}}
        ask = json.dumps({"inputs": [file]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(ask))}
        answer = server.ask("POST", "/v2/models/bundled/infer", ask + struct.pack("<I", len(bomb)) + bomb, headers)
        check(answer.is_refusal(413), f"so it is as a tensor of BYTES: {answer}")
        answer = server.ask("POST", SEGMENT, zeros, {"Content-Encoding": "gzip"})
        check(answer.is_refusal(413), f"{len(zeros) >> 10} KiB of gzip that become 1 GiB are refused: {answer}")
        server.is_well(goods)
    # The largest that is taken is answered, with all of the server's memory for images if need be.
    side = 7900
    large = Good(program, "large.png", png(side, side, kind=0, row=bytes(side)))
    with Server(program, "--timeout", str(PATIENCE)) as server, Traffic(server, goods[:1], clients=1):
        server.is_well([large], 1536)
        check(True, f"a PNG of {len(large.content) >> 10} KiB with {side}×{side} pixels, which is allowed, gets its mask")


def zeros(program, goods, args):
    def pieces(total=1 << 30):
        piece = bytes(1 << 16)
        return (piece for _ in range(total // len(piece)))

    def send(server, first, wrap):
        """Sends until the server hangs up; its answer, and how many bytes could be sent."""
        with server.connect() as connection:
            connection.sendall(first)
            sent = 0
            try:
                for piece in pieces():
                    connection.sendall(wrap(piece))
                    sent += len(piece)
            except OSError:
                pass
            return response_of(connection), sent

    chunked = b"POST " + SEGMENT.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = lambda piece: f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    ways = {
        "with its length": (head(1 << 30), bytes),
        "in chunks": (chunked, chunk),
        "in chunks, as JSON": (chunked.replace(SEGMENT.encode(), b"/predict"), chunk),
    }
    with Server(program) as server, Traffic(server, goods):
        for way, (first, wrap) in ways.items():
            answer, sent = send(server, first, wrap)
            check(answer and answer.is_refusal(413), f"1 GiB of zeros {way} is refused after {sent >> 20} MiB: {answer}")
        with server.connect() as connection:
            connection.sendall(head(1 << 30, more="Expect: 100-continue\r\n"))
            answer = response_of(connection)
            check(answer and answer.is_refusal(413), f"who asks first need not send it: {answer}")
        server.is_well(goods, 1024)


def damaged(program, goods, args):
    jpeg, large = goods[0].content, goods[2].content
    webp = (PICTURES / "cutout.webp").read_bytes()
    bodies = {"nothing": b"", "text": b"this is no image", "zeros": bytes(10_000), "JSON": b'{"a": 1}', "a script": b"#!/bin/sh\n"}
    for name, content in [("JPEG", jpeg), ("PNG", large), ("WebP", webp)]:
        for share in (0.001, 0.01, 0.3, 0.6, 0.9, 0.99):
            bodies[f"{share:.1%} of a {name}"] = content[: max(1, int(len(content) * share))]
        bodies[f"the start of a {name} and zeros"] = content[:40] + bytes(5000)
        bodies[f"a {name} without its first byte"] = content[1:]
    bodies["a PNG with a wrong checksum"] = large[:-20] + bytes([large[-20] ^ 255]) + large[-19:]
    # Its pixels may be damaged, but the file has them all: some decoders read such files.
    soft = {"a JPEG with a hole of zeros": jpeg[:2000] + bytes(500) + jpeg[2500:]}
    kinds = ["image/jpeg", "image/png", "application/octet-stream", "video/mp4", "text/html"]
    with Server(program) as server, Traffic(server, goods):
        for index, (name, body) in enumerate(bodies.items()):
            answer = server.ask("POST", SEGMENT, body, {"Content-Type": kinds[index % len(kinds)]})
            if not answer.is_refusal(400, 413, 415):
                fail(f"{name} gets {answer}")
        check(True, f"{len(bodies)} damaged bodies are refused, the last with {answer}")
        for name, body in soft.items():
            answer = server.ask("POST", SEGMENT, body)
            check(answer.status == 200 or answer.is_refusal(400, 413, 415), f"{name} gets {answer.status}")
        for kind in kinds:
            for good in goods:
                answer = server.ask("POST", SEGMENT, good.content, {"Content-Type": kind})
                if (answer.status, answer.body) != (200, good.mask) and not answer.is_refusal(400, 415):
                    fail(f"{good.name} sent as {kind} gets {answer}")
        check(True, "images with a wrong type get the right mask, or are refused")
        for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "application/json"):
            answer = server.ask("POST", SEGMENT, jpeg, {"Content-Type": kind})
            check(answer.is_refusal(), f"a JPEG sent as {kind} is refused: {answer}")
        for length in ("-1", "x", "99999999999999999999999", "5, 6"):
            with server.connect() as connection:
                connection.sendall(head(0).replace(b"Content-Length: 0", b"Content-Length: " + length.encode()))
                answer = response_of(connection)
                check(answer is None or 400 <= answer.status < 500, f"the length {length} gets {answer}")
        server.is_well(goods)


def slow_loris(program, goods, args):
    limit = 20
    # How many connections of each kind there are, what they send at first, and when they must be cut off.
    kinds = {
        "heads that never end": (100, b"POST /v1/segment HTTP/1.1\r\nHost: x\r\nX-A: ", HEAD),
        "bodies of a byte a second": (80, head(100_000), limit),
        "bodies that do not come": (20, head(100_000), PAUSE),
    }
    with Server(program, "--timeout", str(limit)) as server:
        start = time.monotonic()
        left, ended, answers = {}, {}, {}
        for kind, (count, first, _) in kinds.items():
            for connection in [server.connect() for _ in range(count)]:
                connection.sendall(first)
                left[connection] = kind
        with Traffic(server, goods):
            while left and time.monotonic() - start < limit + 3 * SLACK:
                time.sleep(1)
                for connection, kind in list(left.items()):
                    answer = b""
                    try:
                        if kind != "bodies that do not come":
                            connection.sendall(b"a")
                        # Whether the server has answered or hung up.
                        connection.setblocking(False)
                        answer = connection.recv(4096)
                    except BlockingIOError:
                        connection.settimeout(PATIENCE)
                        continue
                    except OSError:
                        pass
                    answers.setdefault(kind, set()).add(answer[9:12].decode() or "no answer")
                    ended.setdefault(kind, []).append(time.monotonic() - start)
                    connection.close()
                    del left[connection]
            check(not left, f"of 200 slow connections {len(left)} are still open after {time.monotonic() - start:.0f} seconds")
        for kind, (count, _, most) in kinds.items():
            first, last = min(ended[kind]), max(ended[kind])
            told = ", ".join(sorted(answers[kind]))
            times = f"{first:.0f} to {last:.0f} seconds ({told}); the limit is {most}"
            check(last <= most + SLACK, f"{count} {kind} are cut off after {times}")
            check(answers[kind] <= {"408", "504", "no answer"}, "and get no other answer than 408 or 504")
        wait_until(lambda: server.metric("candle_deeplab_connections") <= 1, SLACK, "no connection is left")
        server.is_well(goods)


def half_closed(program, goods, args):
    good = goods[0]
    with Server(program) as server, Traffic(server, goods):
        results = {}
        for part in (1.0, 0.5, 0.0):
            connections = [server.connect() for _ in range(10)]
            for connection in connections:
                connection.sendall(head(len(good.content)) + good.content[: int(part * len(good.content))])
                connection.shutdown(socket.SHUT_WR)
            for connection in connections:
                answer = response_of(connection)
                connection.close()
                if answer and answer.status == 200 and (answer.body != good.mask or part < 1):
                    fail(f"a half-closed client that sent {part:.0%} of its body gets {answer}")
                if answer and answer.status >= 500:
                    fail(f"a half-closed client gets {answer}")
                what = str(answer.status) if answer else "no answer"
                results[part, what] = results.get((part, what), 0) + 1
        told = [f"after {part:.0%} of the body {what} ({count} clients)" for (part, what), count in results.items()]
        check(True, f"clients that close their half of the connection get: {', '.join(told)}")
        wait_until(lambda: server.metric("candle_deeplab_connections") <= 3, SLACK, "their connections are closed")
        server.is_well(goods)


def hang_up(program, goods, args):
    good, count = goods[0], 20
    # One image at a time, so that most of them still wait when their clients go.
    with Server(program, "--max-batch", "1") as server:
        for end in (socket.socket.close, reset):
            how = "RST" if end is reset else "FIN"
            for connection in [server.connect() for _ in range(count)]:
                connection.sendall(head(len(good.content)) + good.content[: len(good.content) // 2])
                end(connection)
            check(True, f"{count} clients hang up in the middle of the upload, with {how}")
            before = server.metric("candle_deeplab_batch_size_sum")
            connections = [server.connect() for _ in range(count)]
            for connection in connections:
                connection.sendall(head(len(good.content)) + good.content)
            time.sleep(0.05)
            for connection in connections:
                end(connection)
            wait_until(lambda: server.metric("candle_deeplab_queue_length") == 0, PATIENCE, "the queue becomes empty")
            time.sleep(0.5)
            computed = server.metric("candle_deeplab_batch_size_sum") - before
            check(computed <= count / 2, f"{count} hang up during the computation, with {how}: {computed:.0f} images are computed")
            page = server.ask("POST", "/v1/segment?format=npy", goods[1].content).body
            connections = [server.connect(receive_buffer=4096) for _ in range(4)]
            for connection in connections:
                connection.sendall(head(len(goods[1].content), "/v1/segment?format=npy") + goods[1].content)
            for connection in connections:
                if connection.recv(100) == b"":
                    fail("there is no answer to hang up in")
                end(connection)
            check(len(page) > 500_000, f"clients hang up in the middle of an answer of {len(page)} bytes, with {how}")
        wait_until(lambda: server.metric("candle_deeplab_connections") <= 1, SLACK, "no connection is left")
        server.is_well(goods)


def slow_readers(program, goods, args):
    # An answer that does not fit into the system's buffers: 6 million class ids.
    large = gradient(3000, 2000)
    places, limit = 16, 10
    options = ["--max-connections", str(places), "--timeout", str(limit)]
    with Server(program, "--timeout", str(PATIENCE)) as server, Traffic(server, goods):
        readers = [server.connect(receive_buffer=4096) for _ in range(50)]
        for reader in readers:
            reader.sendall(head(len(goods[1].content), "/v1/segment?format=npy") + goods[1].content)
        for _ in range(10):
            time.sleep(1)
            for reader in readers:
                with contextlib.suppress(OSError):
                    reader.setblocking(False)
                    reader.recv(1)
        check(True, "50 clients read their answers at a byte a second beside good ones")
        for reader in readers:
            reader.close()
        server.is_well(goods)
    with Server(program, *options) as server:
        readers = [server.connect(receive_buffer=4096) for _ in range(places)]
        for reader in readers:
            reader.sendall(head(len(large), "/v1/segment?format=npy") + large)
        stopped = threading.Event()

        def read():
            while not stopped.wait(1):
                for reader in readers:
                    with contextlib.suppress(OSError):
                        reader.setblocking(False)
                        reader.recv(1)

        threading.Thread(target=read, daemon=True).start()
        start = time.monotonic()
        try:
            answer = server.ask("POST", SEGMENT, goods[0].content, patience=limit + HEAD + 45)
        except OSError as error:
            answer = error
        stopped.set()
        right = isinstance(answer, Answer) and answer.body == goods[0].mask
        told = f"gets {'its mask' if right else answer} after {time.monotonic() - start:.0f} seconds"
        check(right, f"when slow readers have taken all {places} connections, a good client {told}")
        for reader in readers:
            reader.close()
        server.is_well(goods)


def unread(program, goods, args):
    """Clients try to fill the memory of a server that has little."""
    side, clients = 1200, 24
    large, answer_mib = gradient(side, side), 4 * 21 * side * side >> 20
    with Server(program, "--timeout", "60", memory_mib=LITTLE_MIB) as server:
        uploads = [server.connect() for _ in range(24)]

        def upload(connection):
            with contextlib.suppress(OSError):
                connection.sendall(head(60 << 20))
                for _ in range(59):
                    connection.sendall(bytes(1 << 20))

        threads = [threading.Thread(target=upload, args=(connection,), daemon=True) for connection in uploads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        peak, _ = server.memory_mib()
        check(server.process.poll() is None, f"24 clients that send 59 of 60 MiB and then wait: peak {peak:.0f} MiB")
        for connection in uploads:
            connection.close()
        wait_until(lambda: server.metric("candle_deeplab_connections") <= 1, SLACK, "their connections are closed")
        server.is_well(goods, LITTLE_MIB)
        readers = [server.connect(receive_buffer=4096) for _ in range(clients)]
        for reader in readers:
            reader.sendall(head(len(large), "/v1/segment?format=probs") + large)
        statuses, peak = {}, 0
        for reader in readers:
            # Only the first bytes of the answer.
            try:
                status = reader.recv(12)[9:].decode() or "hung up"
            except OSError as error:
                status = repr(error)
            statuses[status] = statuses.get(status, 0) + 1
            peak, now = server.memory_mib(f"{clients} clients want {answer_mib} MiB each and read nothing (so far {statuses}): ")
        told = f"{statuses}; peak {peak:.0f} MiB, now {now:.0f}"
        check(True, f"{clients} clients do not read answers of {answer_mib} MiB: {told}")
        for reader in readers:
            reader.close()
        server.is_well(goods, LITTLE_MIB)


def bad_amid_good(program, goods, args):
    good = goods[0]
    jpeg = good.content
    infer = "/v2/models/bundled/infer"
    tensor = {"name": "image", "shape": [1, 9, 9, 3], "datatype": "UINT8", "data": [1, 2, 3]}

    def raw(server):
        with server.connect() as connection:
            connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
            return response_of(connection)

    kinds = [
        ("text", (400, 415), lambda server: server.ask("POST", SEGMENT, b"this is no image" * 100)),
        ("an empty body", (400,), lambda server: server.ask("POST", SEGMENT, b"")),
        ("a truncated JPEG", (400,), lambda server: server.ask("POST", SEGMENT, jpeg[: len(jpeg) // 2])),
        ("an unknown path", (404,), lambda server: server.ask("GET", "/../etc/passwd")),
        ("the wrong method", (405,), lambda server: server.ask("GET", "/v1/segment")),
        ("an unknown model", (404,), lambda server: server.ask("POST", SEGMENT + "&model=nobody", jpeg)),
        ("an unknown format", (400,), lambda server: server.ask("POST", "/v1/segment?format=gif", jpeg)),
        ("a wrong tensor", (400,), lambda server: server.ask("POST", infer, json.dumps({"inputs": [tensor]}))),
        ("broken JSON", (400,), lambda server: server.ask("POST", infer, b"[" * 5000)),
        ("nonsense instead of HTTP", (400,), raw),
    ]
    wrong, counts, lock = [], {}, threading.Lock()

    def work(numbers, server):
        for number in numbers:
            name, expected, ask = kinds[number % len(kinds)]
            try:
                answer = ask(server)
            except (OSError, http.client.HTTPException) as error:
                answer = error
            # What is no HTTP is answered before there is a request that could get JSON.
            well = isinstance(answer, Answer) and answer.status in expected and (ask is raw or answer.is_refusal())
            with lock:
                counts[name] = counts.get(name, 0) + 1
                if not well:
                    wrong.append(f"{name} gets {answer}")
            if wrong:
                break

    with Server(program) as server:
        server.is_well(goods)
        _, before = server.memory_mib()
        with Traffic(server, goods):
            threads = [threading.Thread(target=work, args=(range(first, args.bad, 8), server)) for first in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        told = f": all but {wrong[0]}" if wrong else ""
        check(not wrong, f"{sum(counts.values())} bad requests of {len(counts)} kinds are refused{told}")
        _, after = server.memory_mib()
        check(after <= before + 100, f"before them the server held {before:.0f} MiB, and now {after:.0f}")
        server.is_well(goods)


def killed(program, goods, args):
    server = Server(program)
    listen = server.address
    traffic = Traffic(server, goods, clients=8, may_break=True)
    with traffic:
        for _ in range(3):
            before = traffic.count("right")
            wait_until(lambda: traffic.count("right") >= before + 8, PATIENCE, "good requests are answered")
            server.process.kill()
            server.process.wait()
            server = traffic.server = Server(program, listen=listen)
            check(True, f"killed and started again on the same port under load: ready after {server.ready_after:.2f} seconds")
        before = traffic.count("right")
        wait_until(lambda: traffic.count("right") >= before + 8, PATIENCE, "good requests are answered again")
    with server:
        print(f"    {traffic.count('broken')} connections broke, and {traffic.count('refused')} requests got 503")
        server.is_well(goods)


def terminated(program, goods, args):
    """SIGTERM under load: whatever had been sent before the signal is answered."""
    good = goods[0]
    for keep in (True, False):
        with Server(program, "--timeout", str(PATIENCE)) as server:
            how = "all over one connection" if keep else "each over a connection of its own"
            traffic = Traffic(server, goods, clients=16, keep=keep, may_break=True)
            with traffic:
                wait_until(lambda: traffic.count("right") >= 16, PATIENCE, "good requests are answered")
                # At the very moment, requests come over new connections and over idle ones; others are in their upload.
                fresh, uploads, idle = ([server.connect() for _ in range(8)] for _ in range(3))
                sudden = []
                for connection in idle:
                    connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                    if response_of(connection).status != 200:
                        fail("an idle connection gets no answer")
                for connection in uploads:
                    connection.sendall(head(len(good.content)) + good.content[:1000])
                time.sleep(0.2)
                for connection in fresh:
                    connection.sendall(head(len(good.content)) + good.content)
                for _ in range(8):
                    sudden.append(server.connect())
                    sudden[-1].sendall(head(len(good.content)) + good.content)
                for connection in idle:
                    connection.sendall(head(len(good.content)) + good.content)
                signalled = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                for connection in uploads:
                    with contextlib.suppress(OSError):
                        connection.sendall(good.content[1000:])
                burst = {}
                for name, connections in (("new", fresh), ("uploading", uploads), ("idle", idle), ("unaccepted", sudden)):
                    for connection in connections:
                        answer = response_of(connection)
                        what = "right" if answer and (answer.status, answer.body) == (200, good.mask) else str(answer)
                        burst.setdefault(name, []).append(what)
                code, _ = server.end()
                ended = time.monotonic() - signalled
                traffic.stopped.set()
            accepted = [what for sent, what in traffic.events if sent and sent < signalled]
            lost = [what for what in accepted if what != "right"]
            told = f": {lost[0]}" if lost else ""
            check(not lost, f"of {len(accepted)} requests before SIGTERM ({how}) {len(lost)} are lost{told}")
            for name, answers in burst.items():
                lost = [answer for answer in answers if answer != "right"]
                told = f"{len(lost)} get no right answer" + (f": {lost[0]}" if lost else "")
                check(not lost, f"of {len(answers)} {name} connections at the moment of SIGTERM {told}")
            check(code == 0, f"the server ends with {code}, {ended:.1f} seconds after SIGTERM")
    with Server(program, "--timeout", "5") as server:
        # Neither idle clients nor slow ones keep it from ending.
        connections = [server.connect() for _ in range(20)]
        for index, connection in enumerate(connections):
            connection.sendall([b"", b"GET / HT", head(1000), head(1000) + b"abc"][index % 4])
        time.sleep(0.5)
        code, seconds = server.end()
        check(code == 0 and seconds < 5 + HEAD + SLACK, f"with 20 slow clients it ends with {code} after {seconds:.1f} seconds")


def full_queue(program, goods, args):
    good, clients = goods[0], 32
    with Server(program, "--max-queue", "4", "--max-batch", "1") as server:
        results, lock = [], threading.Lock()

        def client():
            refusals = 0
            while True:
                answer = server.ask("POST", SEGMENT, good.content)
                if answer.status != 429:
                    break
                if not answer.is_refusal(429) or not answer.headers.get("Retry-After", "").isdigit():
                    break
                refusals += 1
                time.sleep(int(answer.headers["Retry-After"]))
            with lock:
                results.append((refusals, answer))

        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _, answer in results:
            if (answer.status, answer.body) != (200, good.mask):
                fail(f"a client of a full queue gets {answer}, Retry-After {answer.headers.get('Retry-After')}")
        refusals = sum(refusals for refusals, _ in results)
        check(refusals > 0, f"{clients} clients at a queue of 4: {refusals} times 429 with Retry-After, and all get their masks in the end")
        server.is_well(goods)


def replaced_model(program, goods, args):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, weights = folder / "model", folder / "model/model.safetensors"
        shutil.copytree(BUNDLED, model)
        with Server(program, "--model", str(model), "--allow-model-control") as server:
            path = f"/v2/repository/models/{model.name}/load"

            def load(status):
                return server.ask("POST", path, b"{}").status == status

            with Traffic(server, goods):
                with open(weights, "r+b") as file:
                    file.truncate(1000)
                time.sleep(1)
                check(load(500), "a model file cut short cannot be loaded anew, and the server goes on with what it has")
                weights.write_bytes(b"damaged" * 1000)
                check(load(500), "so it is with a damaged one")
                shutil.copy(BUNDLED / "model.safetensors", weights)
                config = json.loads((BUNDLED / "config.json").read_text())
                config["network"]["output_stride"] = 7
                (model / "config.json").write_text(json.dumps(config))
                check(load(500), "and with one whose configuration is wrong")
                shutil.copytree(BUNDLED, folder / "new")
                model.rename(folder / "old")
                time.sleep(0.5)
                check(load(500), "and while the folder is away")
                (folder / "new").rename(model)
                check(load(200), "a new folder in its place is loaded")
                server.is_well(goods)
                for _ in range(10):
                    if not load(200):
                        fail("the model cannot be loaded again")
                check(True, "and ten times more")
                shutil.rmtree(model)
            server.is_well(goods)


def no_descriptors(program, goods, args):
    with Server(program, files=64) as server:
        connections, refused = [], 0
        for _ in range(200):
            try:
                connection = server.connect(patience=0.5)
                connection.sendall(b"GET / HT")
                connections.append(connection)
            except OSError:
                refused += 1
        before, start = server.cpu_seconds(), time.monotonic()
        time.sleep(3)
        busy = (server.cpu_seconds() - before) / (time.monotonic() - start)
        open_files = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        told = f"{len(connections)} connections are made and {refused} are not; the server has {open_files} files open"
        check(server.process.poll() is None, told)
        check(busy < 0.5, f"it takes {busy:.0%} of a processor meanwhile")
        # The slow ones are still there, and are cut off in several waves.
        start = time.monotonic()
        server.is_well(goods[:1])
        check(True, f"a good request is answered after {time.monotonic() - start:.0f} seconds beside them")
        for connection in connections:
            connection.close()
        server.is_well(goods)
        open_files = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        check(open_files < 40, f"when they have gone, {open_files} files are open")


STAGES = [
    bombs, zeros, damaged, slow_loris, half_closed, hang_up, slow_readers, unread, bad_amid_good, killed, terminated, full_queue,
    replaced_model, no_descriptors,
]


def main():
    global stage
    names = [function.__name__ for function in STAGES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--bad", type=int, default=10_000, help="how many bad requests are sent")
    parser.add_argument("--only", default=names, type=lambda text: text.split(","), help=",".join(names))
    args = parser.parse_args()
    if unknown := set(args.only) - set(names):
        parser.error(f"there is no stage {', '.join(unknown)}: choose from {', '.join(names)}")
    program = str(pathlib.Path(args.program).resolve())
    pictures = {name: (PICTURES / name).read_bytes() for name in ("photo.jpg", "page.jpg")} | {"drawn.png": gradient(640, 480)}
    goods = [Good(program, name, content) for name, content in pictures.items()]
    for function in STAGES:
        if function.__name__ in args.only:
            stage = function.__name__
            print(f"== {stage.replace('_', ' ')}", flush=True)
            start = time.monotonic()
            function(program, goods, args)
            print(f"   {time.monotonic() - start:.0f} seconds", flush=True)


if __name__ == "__main__":
    main()
