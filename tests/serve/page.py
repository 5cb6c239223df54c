#!/usr/bin/env python3
"""Drives the page of `candle-deeplab serve` in headless Chromium, as a person would.

    tests/serve/page.py http://127.0.0.1:8080 [--photo FILE] [--screens DIR] [--key KEY]

Needs Python 3.9 and Chromium, and nothing else: it speaks the DevTools protocol over a pipe. The label maps that the page
shows are compared with what the server answers to this script. Exit code 0: all checks passed; 1: a check failed;
77: there is no Chromium.
"""

import argparse
import base64
import fcntl
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NOT_RUN = 77
DESKTOP = dict(width=1280, height=800, deviceScaleFactor=1, mobile=False)
PHONE = dict(width=390, height=844, deviceScaleFactor=3, mobile=True)
FORMATS = ["overlay", "contours", "color", "cutout", "mask", "ids", "confidence", "npy", "json", "geojson", "rle"]
KEYS = {
    "Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}
# The largest resident size of one of Chromium's processes with a photo of 12 megapixels.
MOST_MEMORY = 1 << 30


class Failed(Exception):
    pass


def check(what, holds, found=""):
    if not holds:
        raise Failed(f"{what}{f': found {found!r}' if found != '' else ''}")
    print(f"ok    {what}")


# --- Chromium ---------------------------------------------------------------------------------------------------------


class Chromium:
    """Chromium with one page, spoken to over file descriptors 3 and 4: JSON, each message ended by a zero byte."""

    def __init__(self, program, folder):
        to_read, self.to_chromium = os.pipe()
        self.from_chromium, to_write = os.pipe()
        # Numbers above 4, so that neither is overwritten while the two are put in their places.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (to_read, to_write)]

        def places():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [
                program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run",
                "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
                "--disable-component-update", "--disable-extensions", "--disable-sync", "--hide-scrollbars",
                "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "about:blank",
            ],
            preexec_fn=places, close_fds=False, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for end in (to_read, to_write, *high):
            os.close(end)
        self.news = threading.Condition()
        self.answers, self.events, self.sent = {}, [], 0
        self.closed = False
        self.session = None
        self.on_pause = None
        threading.Thread(target=self.listen, daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def listen(self):
        rest = b""
        while part := os.read(self.from_chromium, 1 << 20):
            *messages, rest = (rest + part).split(b"\0")
            for message in map(json.loads, messages):
                with self.news:
                    if "id" in message:
                        self.answers[message["id"]] = message
                    else:
                        self.events.append(message)
                    self.news.notify_all()
                if message.get("method") == "Fetch.requestPaused":
                    threading.Thread(target=self.on_pause, args=(message["params"],), daemon=True).start()
        with self.news:
            self.closed = True
            self.news.notify_all()

    def call(self, method, **params):
        with self.news:
            self.sent += 1
            number = self.sent
            message = {"id": number, "method": method, "params": params}
            if self.session and not method.startswith(("Target.", "Browser.")):
                message["sessionId"] = self.session
            data = json.dumps(message).encode() + b"\0"
            while data:
                data = data[os.write(self.to_chromium, data):]
            if not self.news.wait_for(lambda: number in self.answers or self.closed, 60):
                raise Failed(f"Chromium gave no answer to {method}")
            if number not in self.answers:
                raise Failed("Chromium has ended")
            answer = self.answers.pop(number)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def of(self, method):
        with self.news:
            return [event["params"] for event in self.events if event["method"] == method]

    def event(self, method, after=0, seconds=30):
        """The first event of this kind after so many others of it."""
        with self.news:
            found = lambda: [event["params"] for event in self.events if event["method"] == method][after:]
            if not self.news.wait_for(found, seconds):
                raise Failed(f"no {method} in {seconds} s")
            return found()[0]

    def memory(self):
        """The largest resident size that one of the processes has had."""
        most = 0
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.getpgid(int(entry.name)) == self.process.pid:
                    for line in (entry / "status").read_text().splitlines():
                        if line.startswith("VmHWM:"):
                            most = max(most, int(line.split()[1]) * 1024)
            except (OSError, ProcessLookupError):
                continue
        return most

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Page:
    def __init__(self, chromium, address, downloads, screens):
        self.chromium, self.address, self.downloads, self.screens = chromium, address, downloads, screens
        self.call = chromium.call
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads), eventsEnabled=True)
        self.expected = 0

    def size(self, metrics, touch=False):
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch, maxTouchPoints=1)

    def prefer(self, scheme, motion="no-preference"):
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion},
        ])

    def load(self):
        before = len(self.chromium.of("Page.loadEventFired"))
        self.call("Page.navigate", url=self.address)
        self.chromium.event("Page.loadEventFired", before)
        self.until("!!document.getElementById('downloads').children.length", "the page's scripts run")

    def js(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise Failed(f"{expression}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def until(self, expression, what, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.js(expression)
            if value:
                return value
            time.sleep(0.05)
        raise Failed(f"{what}: not within {seconds} s. The page says: {self.text('status')!r} {self.text('problem')!r}")

    def text(self, name):
        return self.js(f"document.getElementById({name!r}).textContent.trim().replace(/\\s+/g, ' ')")

    def box(self, selector):
        return self.js(
            f"(b => [b.left, b.top, b.width, b.height])(document.querySelector({selector!r}).getBoundingClientRect())"
        )

    def mouse(self, x, y, kind="mouseMoved", **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, selector):
        self.js(f"document.querySelector({selector!r}).scrollIntoView({{block: 'nearest'}})")
        left, top, width, height = self.box(selector)
        self.click_at(left + width / 2, top + height / 2)

    def click_at(self, x, y):
        self.mouse(x, y)
        self.mouse(x, y, "mousePressed", button="left", buttons=1, clickCount=1)
        self.mouse(x, y, "mouseReleased", button="left", clickCount=1)

    def key(self, key, times=1, shift=False):
        for _ in range(times):
            text = {"Enter": "\r", " ": " "}.get(key, "")
            common = dict(key=key, code="Space" if key == " " else key, windowsVirtualKeyCode=KEYS[key], modifiers=8 * shift)
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def tab_to(self, selector, most=40):
        for _ in range(most):
            if self.js(f"document.activeElement?.matches({selector!r}) ?? false"):
                return
            self.key("Tab")
        raise Failed(f"the Tab key does not reach {selector}")

    def give(self, path):
        node = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=node, selector="#file")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def shown(self, seconds=180):
        self.until(
            "!document.getElementById('panel').hidden && !document.getElementById('panel').inert"
            " && document.getElementById('scan').hidden", "the result is shown", seconds,
        )

    def upload(self, path):
        self.give(path)
        self.until(f"document.getElementById('name').textContent === {pathlib.Path(path).name!r}", "the photo is shown")
        self.shown()

    def settle(self):
        """Waits until the colours have faded in and the bars have grown."""
        time.sleep(0.7)
        self.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def screen(self, name):
        if self.screens:
            self.settle()
            data = self.call("Page.captureScreenshot", format="png")["data"]
            (self.screens / f"{name}.png").write_bytes(base64.b64decode(data))

    def posts(self):
        return [r for r in self.chromium.of("Network.requestWillBeSent") if r["request"]["method"] == "POST"]

    def point(self, x, y):
        """Moves the mouse to a place in the photo, in shares of its sides, and reads what the page says."""
        left, top, width, height = self.box("#canvas")
        self.mouse(left + x * width, top + y * height)
        return self.text("bubble")

    def pixel(self, x, y):
        return self.js(
            f"""(c => {{
                const one = new OffscreenCanvas(1, 1).getContext('2d');
                one.drawImage(c, Math.floor(c.width * {x}), Math.floor(c.height * {y}), 1, 1, 0, 0, 1, 1);
                return [...one.getImageData(0, 0, 1, 1).data];
            }})(document.getElementById('canvas'))"""
        )

    def refuse(self, answers):
        """Answers the next requests for a photo in the server's place: (status, headers, text), or None to let it pass."""
        answers = list(answers)

        def paused(event):
            answer = answers.pop(0) if answers else None
            if answer is None:
                self.call("Fetch.continueRequest", requestId=event["requestId"])
            elif answer == "lost":
                self.call("Fetch.failRequest", requestId=event["requestId"], errorReason="ConnectionRefused")
            else:
                status, headers, text = answer
                self.call(
                    "Fetch.fulfillRequest", requestId=event["requestId"], responseCode=status,
                    responseHeaders=[{"name": n, "value": v} for n, v in headers.items()],
                    body=base64.b64encode(text.encode()).decode(),
                )

        self.chromium.on_pause = paused
        self.call("Fetch.enable", patterns=[{"urlPattern": "*/v1/segment*"}])

    def faults(self):
        """What the console says, besides the network errors that a check has provoked."""
        found = []
        for event in self.chromium.of("Runtime.exceptionThrown"):
            details = event["exceptionDetails"]
            found.append(details.get("exception", {}).get("description", details["text"]))
        for event in self.chromium.of("Runtime.consoleAPICalled"):
            if event["type"] in ("error", "warning", "assert"):
                found.append(str([argument.get("value") for argument in event["args"]]))
        for event in self.chromium.of("Log.entryAdded"):
            entry = event["entry"]
            provoked = entry["source"] == "network" and "/v1/segment" in entry.get("url", "")
            if entry["level"] in ("error", "warning") and not provoked:
                found.append(f"{entry['text']} {entry.get('url', '')}")
        return found


# --- What the server says, and photos ---------------------------------------------------------------------------------


class Server:
    def __init__(self, address, key):
        self.address, self.key = address.rstrip("/"), key

    def ask(self, path, body=None):
        request = urllib.request.Request(f"{self.address}/{path}", data=body)
        if self.key:
            request.add_header("Authorization", f"Bearer {self.key}")
        if body:
            request.add_header("Content-Type", "image/jpeg")
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read()

    def segment(self, photo, format, **query):
        return self.ask("v1/segment?" + urllib.parse.urlencode({"format": format, **query}), photo)


def grey_png(data):
    """Width, height and values of an 8-bit PNG of one channel."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise Failed("the server's answer is no PNG")
    at, packed, width, height = 8, b"", 0, 0
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if name == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
            if depth != 8 or color not in (0, 3):
                raise Failed(f"the server's PNG has {depth} bits and colour type {color}")
        elif name == b"IDAT":
            packed += body
        at += 12 + length
    rows, out, above = zlib.decompress(packed), bytearray(), bytes(width)
    for y in range(height):
        kind, row = rows[y * (width + 1)], bytearray(rows[y * (width + 1) + 1:(y + 1) * (width + 1)])
        for x in range(width):
            a, b, c = (row[x - 1] if x else 0), above[x], (above[x - 1] if x else 0)
            if kind == 4:
                p = a + b - c
                guess = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            else:
                guess = (0, a, b, (a + b) // 2)[kind]
            row[x] = (row[x] + guess) & 255
        out += row
        above = row
    return width, height, bytes(out)


def made_png(width, height, depth, color, values, interlaced=0):
    """A PNG whose rows go through all five filters in turn."""
    stride, rows, above = (width * depth + 7) // 8, bytearray(), bytes((width * depth + 7) // 8)
    for y in range(height):
        row = bytearray(stride)
        for x in range(width):
            row[x * depth // 8] |= values[y * width + x] << (8 - depth - x * depth % 8)
        rows.append(y % 5)
        for x in range(stride):
            a, b, c = (row[x - 1] if x else 0), above[x], (above[x - 1] if x else 0)
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            rows.append((row[x] - (0, a, b, (a + b) // 2, paeth)[y % 5]) & 255)
        above = row
    chunk = lambda name, body: struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    packed = zlib.compress(bytes(rows))
    palette = chunk(b"PLTE", bytes(3 << depth)) if color == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)) + palette
        + chunk(b"IDAT", packed[:9]) + chunk(b"IDAT", packed[9:]) + chunk(b"IEND", b"")
    )


def turned(jpeg, orientation=6):
    """The JPEG with EXIF data that say that it lies on its side."""
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def enlarged(page, path, width, height):
    """A photo of this size, made by the browser."""
    source = base64.b64encode(pathlib.Path(path).read_bytes()).decode()
    return base64.b64decode(page.js(f"""(async () => {{
        const bytes = Uint8Array.from(atob({source!r}), (c) => c.charCodeAt(0));
        const bitmap = await createImageBitmap(new Blob([bytes]));
        const canvas = new OffscreenCanvas({width}, {height});
        canvas.getContext('2d').drawImage(bitmap, 0, 0, {width}, {height});
        const blob = await canvas.convertToBlob({{type: 'image/jpeg', quality: 0.9}});
        const out = new Uint8Array(await blob.arrayBuffer());
        let text = '';
        for (let i = 0; i < out.length; i += 8192) text += String.fromCharCode(...out.subarray(i, i + 8192));
        return btoa(text);
    }})()"""))


# --- The checks -------------------------------------------------------------------------------------------------------


def first_sight(page, server, models):
    page.screen("desktop-empty")
    page.until("document.getElementById('model').options.length > 0", "the models are asked for")
    hidden = page.js("document.getElementById('models').hidden")
    check(f"the model picker is {'hidden with one model' if len(models) == 1 else 'shown'}", hidden == (len(models) == 1))
    check("the panel is hidden before there is a result", page.js("document.getElementById('panel').hidden"))


def png_reader(page):
    """The module that reads label maps, by itself: each depth, both colour types, all filters, and damaged files."""
    read = lambda data: page.js(f"""(async () => {{
        const {{ readPng }} = await import(new URL('assets/png.js', document.baseURI).href);
        const bytes = Uint8Array.from(atob({base64.b64encode(data).decode()!r}), (c) => c.charCodeAt(0));
        try {{
            const found = await readPng(new Blob([bytes]));
            return [found.width, found.height, ...found.data];
        }} catch (error) {{
            return error.message || String(error);
        }}
    }})()""")
    width, height = 37, 23
    wrong = []
    for color in (0, 3):
        for depth in (1, 2, 4, 8):
            values = [(x * x * 7 + y * 31 + x * y) % (1 << depth) for y in range(height) for x in range(width)]
            if read(made_png(width, height, depth, color, values)) != [width, height, *values]:
                wrong.append((color, depth))
    check("PNGs of 1, 2, 4 and 8 bits, grey and palette, with all filters are read exactly", not wrong, wrong)
    values = [7] * (width * height)
    good = made_png(width, height, 8, 0, values)
    damaged = {
        "text": b"no PNG", "cut short": good[:-30], "interlaced": made_png(width, height, 8, 0, values, 1),
        "16 bits": good.replace(b"\x08\0\0\0\0", b"\x10\0\0\0\0", 1),
        "colour": good.replace(b"\x08\0\0\0\0", b"\x08\2\0\0\0", 1),
        "a huge size": good.replace(struct.pack(">II", width, height), struct.pack(">II", 1 << 30, 1 << 30), 1),
        "more rows than its size": good.replace(struct.pack(">II", width, height), struct.pack(">II", width, height - 1), 1),
    }
    answers = {name: read(data) for name, data in damaged.items()}
    check("damaged PNGs are refused", all(isinstance(said, str) for said in answers.values()), answers)


def result(page, server, photo):
    before = len(page.posts())
    page.upload(photo)
    page.screen("desktop-result")
    check("one request is sent for a photo", len(page.posts()) - before == 1, len(page.posts()) - before)

    body = photo.read_bytes()
    found = json.loads(server.segment(body, "json"))["classes"]
    names = [row["name"] for row in sorted(found, key=lambda row: -row["share"])]
    shown = page.js("[...document.querySelectorAll('#classes .name')].map((n) => n.textContent)")
    check(f"the list has the classes, the largest first: {', '.join(names)}", shown == names, shown)
    share = max(found, key=lambda row: row["share"])["share"]
    said = page.js("document.querySelector('#classes .share').textContent")
    check(f"the largest share is {said}", said == f"{share * 100:.1f} %", said)
    check("the result is spoken", names[0] in page.text("spoken"), page.text("spoken"))

    width, height, ids = grey_png(server.segment(body, "ids"))
    confidence = grey_png(server.segment(body, "confidence"))[2]
    known = {row.get("id", row.get("class")): row["name"] for row in found}
    wrong = []
    for i in range(11):
        for j in range(11):
            # The middle of a pixel, so that rounding the mouse's place cannot reach the next one.
            column, row = int((i + 0.5) / 11 * width), int((j + 0.5) / 11 * height)
            said = page.point((column + 0.5) / width, (row + 0.5) / height)
            at = row * width + column
            value = confidence[at]
            # As Math.round rounds: halves go up.
            chance = "> 99 %" if value >= 254 else f"{int(value / 255 * 100 + 0.5)} %"
            if said != f"{known[ids[at]]} {chance}":
                wrong.append((column, row, said, known[ids[at]], chance))
    check("class and probability under the pointer are the server's at 121 places", not wrong, wrong[:3])
    page.point(0.45, 0.5)
    check("the list marks the class under the pointer", page.js("!!document.querySelector('.class.pointed')"))
    page.screen("desktop-hover")
    return names, ids, known, (width, height)


def isolating(page, names, ids, known, size):
    foreground = next((i for i, name in enumerate(names) if name != "background"), 0)
    name = names[foreground]
    row = f"#classes li:nth-child({foreground + 1}) button"
    number = next(id for id, known_name in known.items() if known_name == name)
    within = lambda holds: (places := [i for i, id in enumerate(ids) if holds(id)]) and places[len(places) // 2]
    inside, outside = within(lambda id: id == number), within(lambda id: id != number)
    place = lambda i: ((i % size[0] + 0.5) / size[0], (i // size[0] + 0.5) / size[1])

    page.settle()
    before = page.pixel(*place(outside)) if outside else None
    page.click(row)
    page.settle()
    check(f"a click isolates {name}", page.js(f"document.querySelector({row!r}).getAttribute('aria-pressed')") == "true")
    check("and says so", page.text("spoken") == f"Only {name} is shown.", page.text("spoken"))
    if before:
        after = page.pixel(*place(outside))
        check("the rest of the photo is darkened", sum(after[:3]) < max(60, sum(before[:3])), (before, after))
    page.screen("desktop-isolated")
    page.click(row)
    check("a second click shows all", page.js("!document.querySelector('.class[aria-pressed=true]')"))
    x, y = place(inside)
    page.point(x, y)
    left, top, width, height = page.box("#canvas")
    page.click_at(left + x * width, top + y * height)
    check("a click in the photo isolates the class there", page.js("!!document.querySelector('.class[aria-pressed=true]')"))
    page.key("Escape")
    check("Escape shows all", page.js("!document.querySelector('.class[aria-pressed=true]')"))
    return row, name


def sliders(page):
    before = len(page.posts())
    page.settle()
    left, top, width, height = page.box("#canvas")
    y = top + height / 2
    colored = page.pixel(0.1, 0.2)
    page.mouse(left, y)
    page.mouse(left, y, "mousePressed", button="left", buttons=1, clickCount=1)
    for step in range(1, 11):
        page.mouse(left + step * width / 20, y, button="left", buttons=1)
    page.mouse(left + width / 2, y, "mouseReleased", button="left", clickCount=1)
    value = int(page.js("document.getElementById('divider').value"))
    check("the divider is dragged to the middle", 480 <= value <= 520, value)
    page.screen("desktop-divider")
    page.settle()
    plain = page.pixel(0.1, 0.2)
    page.js("document.getElementById('divider').focus()")
    page.key("Home")
    check("the divider goes by keyboard", page.js("document.getElementById('divider').value") == "0")
    page.js("document.getElementById('opacity').focus()")
    page.key("Home")
    page.settle()
    check("without opacity the photo is as it was", page.pixel(0.1, 0.2) == plain, (colored, plain))
    check("and the slider says 0 %", page.text("opacity-value") == "0 %")
    page.key("End")
    page.key("ArrowLeft", 40)
    check("the opacity goes by keyboard", page.text("opacity-value") == "60 %", page.text("opacity-value"))
    check("sliders cost no request", len(page.posts()) == before)


def download(page, format):
    before = len(page.chromium.of("Browser.downloadWillBegin"))
    ended = len([e for e in page.chromium.of("Browser.downloadProgress") if e["state"] == "completed"])
    page.click(f"[data-format={format}]")
    name = page.chromium.event("Browser.downloadWillBegin", before, 120)["suggestedFilename"]
    end = time.monotonic() + 60
    while len([e for e in page.chromium.of("Browser.downloadProgress") if e["state"] == "completed"]) <= ended:
        if time.monotonic() > end:
            raise Failed(f"the download of {name} does not end")
        time.sleep(0.05)
    return name, (page.downloads / name).read_bytes()


def downloads(page, server, photo, row, name):
    body, stem = photo.read_bytes(), photo.stem
    page.click("[data-format=cutout]")
    check("the cutout asks for an isolated class first", "Isolate a class first" in page.text("status"), page.text("status"))
    magic = {"npy": b"\x93NUMPY", "json": b"{", "geojson": b"{", "rle": b"["}
    for format in FORMATS:
        if format == "cutout":
            continue
        file, data = download(page, format)
        start = magic.get(format) or (b"\xff\xd8\xff" if file.endswith(".jpg") else b"\x89PNG")
        check(f"{format} is saved as {file}, {len(data)} bytes", data.startswith(start) and file.startswith(stem), data[:8])
        if format in ("mask", "ids", "confidence", "npy"):
            check(f"{format} is what the server answers", data == server.segment(body, format))
    page.click(row)
    for format in ("cutout", "overlay"):
        file, data = download(page, format)
        start = b"\x89PNG" if format == "cutout" else b"\xff\xd8\xff"
        check(f"with {name} alone: {format} is saved as {file}", data.startswith(start), data[:8])
    page.key("Escape")


def choose_model(page, models):
    """With several models: another one looks at the photo as soon as it is chosen."""
    other = next((one["name"] for one in models if not one.get("default")), None)
    if len(models) < 2 or other is None:
        return
    before = len(page.posts())
    page.js(f"""(s => {{
        s.value = {other!r};
        s.dispatchEvent(new Event('change', {{bubbles: true}}));
    }})(document.getElementById('model'))""")
    page.shown()
    asked = [urllib.parse.parse_qs(urllib.parse.urlsplit(p["request"]["url"]).query)["model"] for p in page.posts()[before:]]
    check(f"another model looks at the photo when it is chosen: {other}", asked == [[other]], asked)


def keyboard(page, photo):
    page.load()
    page.call("Page.setInterceptFileChooserDialog", enabled=True)
    page.tab_to("[data-pick]")
    page.screen("desktop-focus-empty")
    before = len(page.chromium.of("Page.fileChooserOpened"))
    page.key("Enter")
    chooser = page.chromium.event("Page.fileChooserOpened", before)
    page.call("DOM.setFileInputFiles", backendNodeId=chooser["backendNodeId"], files=[str(photo)])
    page.call("Page.setInterceptFileChooserDialog", enabled=False)
    page.shown()
    check("Enter on the button opens the file dialog, and the photo is shown", True)

    stops, unseen = [], []
    page.js("document.activeElement.blur()")
    for _ in range(40):
        page.key("Tab")
        found = page.js("""(e => e === document.body ? null : {
            what: e.id || e.dataset.format || e.textContent.trim().slice(0, 20),
            seen: e.matches(':focus-visible') && (getComputedStyle(e).outlineStyle !== 'none' || e.id === 'divider'),
        })(document.activeElement)""")
        if found is None or (stops and found["what"] == stops[0]):
            break
        stops.append(found["what"])
        if not found["seen"]:
            unseen.append(found["what"])
    check(f"the Tab key stops at {len(stops)} places", {"canvas", "divider", "opacity", "cutout", "rle"} <= set(stops), stops)
    check("each with a visible focus", not unseen, unseen)

    page.js("document.activeElement.blur()")
    page.tab_to("#canvas")
    page.key("ArrowLeft", 3)
    page.key("ArrowDown", 2, shift=True)
    check("arrow keys read the photo", page.text("spoken") == page.text("bubble") != "", page.text("spoken"))
    page.screen("desktop-keyboard")
    page.key("Enter")
    check("Enter isolates the class under the cross", page.js("!!document.querySelector('.class[aria-pressed=true]')"))
    page.key("Escape")
    page.tab_to("#classes button")
    page.key(" ")
    check("the space bar isolates a class in the list", page.js("!!document.querySelector('.class[aria-pressed=true]')"))
    page.key("Escape")

    nameless = []
    for node in page.call("Accessibility.getFullAXTree")["nodes"]:
        focusable = any(p["name"] == "focusable" and p["value"].get("value") for p in node.get("properties", []))
        role = node.get("role", {}).get("value")
        if focusable and not node.get("ignored") and role != "RootWebArea" and not node.get("name", {}).get("value"):
            nameless.append(role)
    check("everything that can have the focus has a name", not nameless, nameless)


def ways_in(page, photo, folder):
    page.load()
    data = {"items": [], "files": [str(photo)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        if kind == "drop":
            check("a photo held over the page is announced", page.js("!document.getElementById('droptarget').hidden"))
        page.call("Input.dispatchDragEvent", type=kind, x=600, y=400, data=data)
        page.js("0")
    page.shown()
    check("a photo can be dropped", page.text("name") == photo.name, page.text("name"))

    page.load()
    source = base64.b64encode(photo.read_bytes()).decode()
    page.js(f"""(() => {{
        const bytes = Uint8Array.from(atob({source!r}), (c) => c.charCodeAt(0));
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([bytes], 'pasted.jpg', {{type: 'image/jpeg'}}));
        document.body.dispatchEvent(new ClipboardEvent('paste', {{clipboardData, bubbles: true}}));
    }})()""")
    page.shown()
    check("a photo can be pasted", page.text("name") == "pasted.jpg", page.text("name"))
    lying = page.box("#canvas")

    upright = folder / "on-its-side.jpg"
    upright.write_bytes(turned(photo.read_bytes()))
    page.upload(upright)
    turned_box = page.box("#canvas")
    ratio = (turned_box[2] / turned_box[3]) * (lying[2] / lying[3])
    check("EXIF data turn the photo upright, and its mask", abs(ratio - 1) < 0.02 and page.point(0.5, 0.5) != "", ratio)

    text = folder / "text.jpg"
    text.write_text("no photo")
    page.give(text)
    page.until("!document.getElementById('problem').hidden", "a file that is no photo is refused")
    check(f"a file that is no photo: {page.text('problem-title')}", "not a photo" in page.text("problem-title"))


def errors(page, photo, folder):
    sentence = lambda text: json.dumps({"error": text})
    plain = {"Content-Type": "application/json"}
    page.load()
    ways = {413: "Send a smaller copy", 415: None, 503: "Try again", 504: "Send a smaller copy", 500: "Try again"}
    for status, way in ways.items():
        page.refuse([(status, plain, sentence("this is the reason"))])
        page.give(photo)
        page.until("!document.getElementById('problem').hidden", f"{status} is shown")
        title, advice = page.text("problem-title"), page.text("problem-advice")
        offered = page.js("(w => w.hidden ? null : w.textContent)(document.getElementById('way'))")
        check(f"{status}: {title} {advice} [{offered}]", "this is the reason" in advice and offered == way, (advice, offered))
        if status == 413:
            page.screen("desktop-error")
            page.click("#way")
            page.shown()
            check("a smaller copy is sent", "Scaled from" in page.text("facts"), page.text("facts"))

    busy = (429, {**plain, "Retry-After": "2"}, sentence("full"))
    page.refuse([busy, (503, {**plain, "Retry-After": "1"}, sentence("loading"))])
    page.give(photo)
    page.until("/busy.*again in [12] second/.test(document.getElementById('status').textContent)", "429 is shown")
    check(f"429: {page.text('status')}", True)
    page.until("/not ready/.test(document.getElementById('status').textContent)", "503 with Retry-After is shown")
    check(f"503 with Retry-After: {page.text('status')}", True)
    page.shown()
    check("and the photo is sent again by itself", page.js("document.getElementById('problem').hidden"))

    page.refuse(["lost"])
    page.give(photo)
    page.until("!document.getElementById('problem').hidden", "a lost connection is shown")
    check(f"no connection: {page.text('problem-title')}", "cannot be reached" in page.text("problem-title"))
    page.click("#way")
    page.shown()
    check("and Try again sends the photo again", True)

    page.refuse([(401, plain, sentence("key")), (401, plain, sentence("key"))])
    page.give(photo)
    page.until("document.getElementById('key').open", "the key is asked for")
    page.screen("desktop-key")
    page.call("Input.insertText", text="wrong")
    page.key("Enter")
    page.until(
        "document.getElementById('key').open && !document.querySelector('#key .again').hidden", "the key is asked for again",
    )
    page.call("Input.insertText", text="test-key")
    page.key("Enter")
    page.shown()
    sent = {name.lower(): value for name, value in page.posts()[-1]["request"]["headers"].items()}
    check("401: the key is asked for until it fits, and sent", sent.get("authorization") == "Bearer test-key", sent)
    check("and kept in sessionStorage", page.js("Object.values(sessionStorage).includes('test-key')"))
    page.js("sessionStorage.clear()")
    page.call("Fetch.disable")


def large(page, photo, folder):
    page.load()
    twelve, wider = folder / "twelve.jpg", folder / "wider.jpg"
    twelve.write_bytes(enlarged(page, photo, 4000, 3000))
    wider.write_bytes(enlarged(page, photo, 5000, 2000))
    page.upload(twelve)
    facts = page.text("facts")
    check(f"a photo of 12 megapixels is sent as it is: {facts}", "4000×3000" in facts and "Scaled" not in facts)
    memory = page.chromium.memory()
    check(f"the largest process of Chromium needed {memory >> 20} MiB", memory < MOST_MEMORY, memory)
    page.upload(wider)
    check(f"a larger one is scaled down: {page.text('facts')}", "Scaled from 5000×2000 to 4096×1638" in page.text("facts"))


def camera(page):
    page.load()
    before = len(page.posts())
    page.click("[data-camera]")
    page.until("/frames a second/.test(document.getElementById('facts').textContent)", "the camera's frames are shown", 120)
    end = time.monotonic() + 120
    while len(page.posts()) - before < 4 and time.monotonic() < end:
        time.sleep(0.1)
    check(f"the camera sends frames: {page.text('facts')}", len(page.posts()) - before >= 4)
    finished = {e["requestId"] for e in page.chromium.of("Network.loadingFinished")}
    open_now = [p for p in page.posts()[before:] if p["requestId"] not in finished]
    check("one frame at a time", len(open_now) <= 1, len(open_now))
    page.screen("desktop-camera")
    page.click("#stop")
    check("the camera can be stopped", page.js("document.getElementById('stop').hidden"))
    time.sleep(0.5)
    count = len(page.posts())
    time.sleep(1)
    check("then no frame is sent any more", len(page.posts()) == count)
    check("the last frame stays", "the last frame" in page.text("facts"), page.text("facts"))


def phone(page, photo):
    page.size(PHONE, touch=True)
    page.load()
    page.screen("phone-empty")
    page.upload(photo)
    page.screen("phone-result")
    left, top, width, height = page.box("#canvas")
    at = [{"x": left + width * 0.45, "y": top + height * 0.6}]
    page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=at)
    page.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": at[0]["x"] + 20, "y": at[0]["y"]}])
    page.until("!document.getElementById('bubble').hidden", "the bubble is shown under a finger")
    check(f"a finger reads the photo: {page.text('bubble')}", True)
    _, bubble_top, _, bubble_height = page.box("#bubble")
    check("and does not cover what it reads", bubble_top + bubble_height < at[0]["y"] - 30)
    page.screen("phone-finger")
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    over = page.js("document.documentElement.scrollWidth - innerWidth")
    check("nothing is wider than the phone", over <= 0, over)
    small = page.js("""[...document.querySelectorAll('button, select')]
        .filter((b) => b.checkVisibility() && !b.matches('.link, .quiet') && b.getBoundingClientRect().height < 44)
        .map((b) => b.textContent.trim())""")
    check("buttons are large enough for fingers", not small, small)
    page.js("scrollTo(0, document.body.scrollHeight)")
    page.screen("phone-below")
    page.prefer("dark")
    page.js("scrollTo(0, 0)")
    page.screen("phone-dark")
    page.prefer("light")
    page.size(DESKTOP)


def dark(page, photo):
    page.prefer("dark", "reduce")
    page.load()
    page.screen("dark-empty")
    page.upload(photo)
    page.screen("dark-result")
    color = page.js("getComputedStyle(document.body).backgroundColor")
    check(f"the page is dark where that is preferred: {color}", max(map(int, color[4:-1].split(","))) < 60, color)
    still = page.js("getComputedStyle(document.querySelector('.bar'), '::after').transitionDuration")
    check("nothing moves where that is preferred", still in ("0s", "0ms") or not still, still)
    page.prefer("light")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("address")
    arguments.add_argument("--photo", type=pathlib.Path, default=ROOT / "examples/photos/cat.jpg")
    arguments.add_argument("--screens", type=pathlib.Path, help="a folder for screenshots")
    arguments.add_argument("--key", help="the server's API key")
    given = arguments.parse_args()
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if not program:
        print("skipped: Chromium is not installed (apt-get install chromium, or CHROMIUM=/path/to/it)")
        return NOT_RUN
    if given.screens:
        given.screens.mkdir(parents=True, exist_ok=True)
    address = given.address if "://" in given.address else f"http://{given.address}"
    photo = given.photo.resolve()
    server = Server(address, given.key)
    try:
        models = json.loads(server.ask("v1/models"))["models"]
    except OSError as error:
        print(f"FAIL  {server.address}/v1/models: {error}")
        return 1

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "downloads").mkdir()
        chromium = Chromium(program, folder / "profile")
        try:
            page = Page(chromium, f"{server.address}/", folder / "downloads", given.screens)
            if given.key:
                source = f"sessionStorage.setItem('candle-deeplab.api-key', {json.dumps(given.key)})"
                page.call("Page.addScriptToEvaluateOnNewDocument", source=f"try {{ {source} }} catch {{}}")
            page.size(DESKTOP)
            page.prefer("light")
            page.load()
            first_sight(page, server, models)
            png_reader(page)
            names, ids, known, size = result(page, server, photo)
            row, name = isolating(page, names, ids, known, size)
            sliders(page)
            downloads(page, server, photo, row, name)
            choose_model(page, models)
            keyboard(page, photo)
            ways_in(page, photo, folder)
            phone(page, photo)
            dark(page, photo)
            camera(page)
            if not given.key:
                errors(page, photo, folder)
            large(page, photo, folder)

            own = urllib.parse.urlsplit(address).netloc
            asked = [e["request"]["url"] for e in chromium.of("Network.requestWillBeSent")]
            hosts = {urllib.parse.urlsplit(u).netloc for u in asked if not u.startswith(("data:", "blob:", "about:"))}
            foreign = hosts - {own}
            check(f"none of {len(asked)} requests went to another host", not foreign, foreign)
            check("the console has no errors", not page.faults(), page.faults())
        except Failed as failed:
            print(f"FAIL  {failed}")
            for fault in page.faults():
                print(f"      the console says: {fault}")
            if given.screens:
                page.screen("failed")
            return 1
        finally:
            chromium.close()
            time.sleep(0.2)  # Its processes let go of the folder.
    return 0


if __name__ == "__main__":
    sys.exit(main())
