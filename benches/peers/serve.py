#!/usr/bin/env python3
"""`candle-deeplab serve` beside Python servers with OpenVINO: the bundled model, a JPEG photo of 513×513 in, a mask as PNG out.

    pip install litserve==0.2.19 openvino==2026.4.1 numpy==2.4.6 pillow==13.0.0      # or mlserver==1.7.1
    cargo build --release
    python benches/peers/serve.py PROGRAM [--clients 1,8,64] [--seconds 20] [--rounds 3] [--peer litserve|mlserver|none]

The peer runs our own ONNX export with OpenVINO, decodes with Pillow, preprocesses with numpy as the model's config.json
says, and writes its mask with Pillow; it has one worker process and the same number of threads. Its program is below, as a
user would write it. MLServer takes images and gives masks as base64, as its REST interface wants it.

Each round starts each server anew, one after the other and never two at a time, and asks it with each number of clients:
threads of another process, each of which keeps its connection and asks again when it has its answer. What that process
takes of the processors itself is printed, and what a server takes for a request. `bench` is what the network alone computes in
the same rounds. Figures are medians over the rounds. Memory is that of all processes of a server (PSS: pages that several share count once), of a server of its
own. Every answer must be the same mask, which is compared with ours.
"""
import argparse, base64, http.client, io, json, os, pathlib, socket, statistics, subprocess, sys, tempfile, threading, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES = [ROOT / "docs/pictures" / name for name in ("photo.jpg", "page.jpg", "comparison.jpg")]
CONFIG = ROOT / "candle-deeplab/assets/bundled/config.json"
SIDE = 513
OURS, BENCH = "candle-deeplab", "bench"
# Seconds that anything may take: to start, and to answer behind 64 others on a slow machine.
PATIENCE = 180

# What all peers share: from a file's bytes to a mask's.
COMMON = '''
import io, json, sys
import numpy as np, openvino
from PIL import Image

ONNX, CONFIG, THREADS, PORT = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
HOW, LABELS = CONFIG["preprocessing"], CONFIG["labels"]
SIZE = HOW["size"]["width"], HOW["size"]["height"]
MEAN, STD = (np.array(HOW[name], np.float32).reshape(3, 1, 1) for name in ("mean", "std"))
PALETTE = sum(LABELS["palette"], [])


class Network:
    def __init__(self):
        config = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self.request = openvino.Core().compile_model(ONNX, "CPU", config).create_infer_request()

    def mask(self, file):
        image = Image.open(io.BytesIO(file)).convert("RGB")
        size = image.size
        if size != SIZE:
            image = image.resize(SIZE, Image.Resampling.BILINEAR)
        pixels = (np.asarray(image, np.float32).transpose(2, 0, 1) - MEAN) / STD
        mask = Image.fromarray(self.request.infer({"input": pixels[None]})["mask"][0])
        if size != SIZE:
            mask = mask.resize(size, Image.Resampling.NEAREST)
        mask.putpalette(PALETTE)
        out = io.BytesIO()
        mask.save(out, "PNG", compress_level=1)
        return out.getvalue()
'''

LITSERVE = COMMON + '''
from typing import Annotated
import litserve
from fastapi import Body, Response


class Segmentation(litserve.LitAPI):
    def setup(self, device):
        self.network = Network()

    # The body as it is, which costs less than a form.
    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]):
        return request

    def predict(self, file):
        return self.network.mask(file)

    def encode_response(self, mask) -> Response:
        return Response(mask, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(Segmentation(), accelerator="cpu", devices=1, workers_per_device=1, timeout=False)
    server.run("127.0.0.1", PORT, num_api_servers=1, log_level="error", generate_client_file=False)
'''

MLSERVER = COMMON + '''
import asyncio, base64, threading
from mlserver import MLModel, MLServer, ModelSettings, Settings, types

ALONE = threading.Lock()


class Segmentation(MLModel):
    async def load(self):
        self.network = Network()
        return True

    async def predict(self, payload):
        file = base64.b64decode(payload.inputs[0].data[0])
        # Beside the thread that serves. The network takes one image at a time.
        mask = await asyncio.to_thread(self.one, file)
        data = [base64.b64encode(mask).decode()]
        output = types.ResponseOutput(name="mask", datatype="BYTES", shape=[1], data=data)
        return types.InferenceResponse(model_name=self.name, outputs=[output])

    def one(self, file):
        with ALONE:
            return self.network.mask(file)


async def main():
    settings = Settings(host="127.0.0.1", http_port=PORT, grpc_port=PORT + 1, metrics_port=PORT + 2, parallel_workers=0, debug=False)
    server = MLServer(settings)
    await server.start([ModelSettings(name="segmentation", implementation=Segmentation)])


if __name__ == "__main__":
    asyncio.run(main())
'''

PEERS = {"litserve": LITSERVE, "mlserver": MLSERVER}


# The load generator, in a process of its own


def generate(args):
    """Asks until the time is over, and prints how many answers came, after which times, and what it took itself.

    Answers are counted when the clients have run for a while, since batches come in waves: what comes before the first
    ends is no rate.
    """
    body, expected = pathlib.Path(args.body).read_bytes(), pathlib.Path(args.expected).read_bytes()
    headers = {"Content-Type": args.content_type}
    times, wrong, lock = [], [], threading.Lock()
    ready = threading.Barrier(args.generate_clients + 1)
    state = {"until": 0.0}
    numbers = iter(range(args.generate_requests or 1 << 60))

    def client():
        connection = http.client.HTTPConnection(args.address, timeout=PATIENCE)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready.wait()
        while time.perf_counter() < state["until"]:
            with lock:
                if next(numbers, None) is None:
                    break
            start = time.perf_counter()
            connection.request("POST", args.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            end = time.perf_counter()
            with lock:
                times.append((end, end - start))
                if response.status != 200 or content != expected:
                    wrong.append(f"{response.status} {content[:200]!r}")

    threads = [threading.Thread(target=client, daemon=True) for _ in range(args.generate_clients)]
    for thread in threads:
        thread.start()
    state["until"] = float("inf")
    ready.wait()
    start, cpu = time.perf_counter(), time.process_time()
    warm = start + args.seconds / 5
    state["until"] = until = warm + args.seconds
    for thread in threads:
        thread.join()
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    # Times are of all, those among them that ended late: leaving these out would make the others look fast.
    print(json.dumps({
        "requests": len(times), "rate": sum(warm < end <= until for end, _ in times) / args.seconds,
        "times_ms": sorted(took * 1e3 for _, took in times),
        "cpu": cpu / elapsed, "wrong": wrong[:3], "wrongs": len(wrong),
    }))


# The servers


def free_port():
    """A port such that the next two are free as well: MLServer wants three."""
    while True:
        with socket.socket() as first, socket.socket() as second, socket.socket() as third:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
                third.bind(("127.0.0.1", port + 2))
                return port
            except (OSError, OverflowError):
                continue


def processes(root):
    """A process and all below it."""
    parents = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents.setdefault(int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(int(folder.name))
        except OSError:
            pass
    found = [root]
    for process in found:
        found += parents.get(process, [])
    return found


class Contestant:
    """How a server is started and asked."""

    def __init__(self, name, args, folder):
        self.name, self.args, self.folder = name, args, folder
        self.path, self.content_type = "/v1/segment?format=mask", "image/jpeg"
        if name == "litserve":
            self.path = "/predict"
        if name == "mlserver":
            self.path, self.content_type = "/v2/models/segmentation/infer", "application/json"
        if name != OURS:
            (folder / f"{name}_peer.py").write_text(PEERS[name])

    def body(self, file):
        if self.name != "mlserver":
            return file
        image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(file).decode()]}
        return json.dumps({"id": "photo", "inputs": [image]}).encode()

    def mask(self, answer):
        """The class ids of an answer."""
        from PIL import Image
        import numpy as np
        if self.name == "mlserver":
            answer = base64.b64decode(json.loads(answer)["outputs"][0]["data"][0])
        return np.asarray(Image.open(io.BytesIO(answer)))

    def __enter__(self):
        threads = str(self.args.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        environment.pop("CANDLE_DEEPLAB_API_KEY", None)
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        if self.name == OURS:
            command = [self.args.program, "serve", "--listen", self.address, "--threads", threads, "--quiet", *self.args.options]
        else:
            peer = [self.folder / f"{self.name}_peer.py", self.folder / "model.onnx", CONFIG, threads, str(port)]
            command = [sys.executable, *peer]
        self.log = open(self.folder / f"{self.name}.log", "w+b")
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment, cwd=self.folder)
        self.photo = (self.folder / "photo.jpg").read_bytes()
        while True:
            try:
                # Answers other than the mask are those of a server that loads its model.
                if (answer := self.ask(self.photo))[0] == 200:
                    break
                wrong = f"answers {answer[0]} {answer[1][:300]!r}"
            except (OSError, http.client.HTTPException) as error:
                wrong = repr(error)
            if self.process.poll() is not None or time.perf_counter() - start > PATIENCE:
                self.log.seek(0)
                sys.exit(f"{self.name} does not answer: {wrong}\n{self.log.read().decode(errors='replace')[-3000:]}")
            time.sleep(0.02)
        self.started_s = time.perf_counter() - start
        (self.folder / f"{self.name}.answer").write_bytes(answer[1])
        (self.folder / f"{self.name}.body").write_bytes(self.body(self.photo))
        return self

    def __exit__(self, *_):
        family = processes(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for process in family[1:]:
            try:
                os.kill(process, 9)
            except OSError:
                pass
        self.log.close()

    def ask(self, file):
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        try:
            connection.request("POST", self.path, self.body(file), {"Content-Type": self.content_type})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def load(self, clients, seconds, requests=0):
        """Load from a process of its own: its figures."""
        files = ["--body", self.folder / f"{self.name}.body", "--expected", self.folder / f"{self.name}.answer"]
        where = ["--address", self.address, "--path", self.path, "--content-type", self.content_type]
        how = ["--generate-clients", str(clients), "--seconds", str(seconds), "--generate-requests", str(requests)]
        command = [sys.executable, __file__, "-", *where, *how, *files]
        before = self.cpu_seconds()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the load on {self.name} failed:\n{done.stderr}")
        result = json.loads(done.stdout)
        if result["wrongs"]:
            sys.exit(f"{self.name} gave {result['wrongs']} wrong answers of {result['requests']}: {result['wrong'][0]}")
        result["cpu_ms"] = (self.cpu_seconds() - before) / result["requests"] * 1e3
        return result

    def cpu_seconds(self):
        """What all its processes have taken of the processors."""
        total = 0
        for process in processes(self.process.pid):
            try:
                fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
            except OSError:
                pass
        return total / os.sysconf("SC_CLK_TCK")

    def memory_mib(self):
        """PSS of all its processes."""
        total = 0
        for process in processes(self.process.pid):
            try:
                lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except (OSError, StopIteration):
                pass
        return total / 1024


def run_bench(args):
    command = [args.program, "bench", "--batch", "1", "--size", f"{SIDE}x{SIDE}", "--threads", str(args.threads), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench failed:\n{done.stderr}")
    return json.loads(done.stdout)["median_ms"]


def photos():
    """JPEG files of the network's size."""
    from PIL import Image
    files = []
    for path in PICTURES:
        file = io.BytesIO()
        Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def compare(args, folder):
    """Masks, memory, and then the rounds: all figures."""
    files = photos()
    (folder / "photo.jpg").write_bytes(files[0])
    contestants = [Contestant(name, args, folder) for name in [OURS] + [args.peer] * (args.peer != "none")]
    if args.peer != "none":
        export = ["export", "onnx", "--size", f"{SIDE}x{SIDE}", "--head", "mask", "-o", folder / "model.onnx"]
        subprocess.run([args.program, *export], check=True, stdout=subprocess.DEVNULL)
    result, masks = {}, {}
    for contestant in contestants:
        with contestant:
            name = contestant.name
            first, last = args.memory_requests
            contestant.load(1, PATIENCE, first)
            memory = [contestant.memory_mib()]
            contestant.load(8, 3600, last - first)
            memory.append(contestant.memory_mib())
            counted = len(processes(contestant.process.pid))
            masks[name] = [contestant.mask(contestant.ask(file)[1]) for file in files]
        same = [float((a == b).mean()) for a, b in zip(masks[name], masks[OURS])]
        result[name] = {"memory_mib": memory, "processes": counted, "started_s": contestant.started_s, "mask_agreement": min(same)}
        told = f"{memory[0]:.0f} MiB after {first} requests, {memory[1]:.0f} after {last}; masks agree on {min(same):.2%}"
        print(f"  {name}: {told}", file=sys.stderr)
    loads, bench = {(c.name, clients): [] for c in contestants for clients in args.clients}, []
    for round_ in range(args.rounds):
        # Nobody always runs behind the same one.
        order = [None, *contestants]
        for contestant in order[round_ % len(order):] + order[: round_ % len(order)]:
            if contestant is None:
                bench.append(run_bench(args))
                print(f"  round {round_ + 1}: {BENCH}: {bench[-1]:.1f} ms", file=sys.stderr)
                continue
            with contestant:
                contestant.load(2, PATIENCE, 10)
                for clients in args.clients:
                    load = contestant.load(clients, args.seconds)
                    times = load.pop("times_ms") or [float("nan")]
                    at = lambda share: times[round((len(times) - 1) * share)]
                    load |= {"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": times[-1]}
                    loads[contestant.name, clients].append(load)
                    told = f"{load['rate']:.2f} requests/s, p50 {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms"
                    print(f"  round {round_ + 1}: {contestant.name}, {clients} clients: {told}", file=sys.stderr)
    for (name, clients), runs in loads.items():
        figures = {figure: statistics.median(run[figure] for run in runs) for figure in ("rate", "p50_ms", "p99_ms", "max_ms", "cpu", "cpu_ms")}
        result[name].setdefault("load", {})[clients] = figures
    result[BENCH] = {"median_ms": statistics.median(bench), "rate": 1e3 / statistics.median(bench)}
    return result


def table(result, args):
    bench = result.pop(BENCH)
    first, last = args.memory_requests
    print(f"\n{'':16}{'clients':>8}{'requests/s':>12}{'of bench':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'generator':>11}")
    print(f"{BENCH:16}{'':8}{bench['rate']:12.2f}{'':10}{bench['median_ms']:9.1f}")
    for name, figures in result.items():
        for clients, load in figures["load"].items():
            share = load["rate"] / bench["rate"]
            print(f"{name:16}{clients:8}{load['rate']:12.2f}{share:10.1%}{load['p50_ms']:9.1f}{load['p99_ms']:9.1f}{load['cpu_ms']:9.1f}{load['cpu']:11.1%}")
    print(f"\n{'':16}{f'MiB, {first}':>12}{f'MiB, {last}':>12}{'processes':>11}{'first answer':>14}{'same mask':>11}")
    for name, figures in result.items():
        before, after = figures["memory_mib"]
        print(f"{name:16}{before:12.0f}{after:12.0f}{figures['processes']:11}{figures['started_s']:12.2f} s{figures['mask_agreement']:11.3%}")
    for name, figures in result.items():
        if name != OURS:
            ours = result[OURS]
            ratio = lambda clients, load: f"{ours['load'][clients]['rate'] / load['rate']:.2f} with {clients}"
            rates = ", ".join(ratio(clients, load) for clients, load in figures["load"].items())
            memory = ours["memory_mib"][1] / figures["memory_mib"][1]
            print(f"ours to {name}: requests/s {rates}; memory after {last} requests {memory:.2f}")
    result[BENCH] = bench


def main():
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--clients", default=[1, 8, 64], type=numbers)
    parser.add_argument("--seconds", default=20, type=float, help="how long each number of clients asks in a round")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--peer", default="litserve", choices=[*PEERS, "none"])
    parser.add_argument("--threads", default=len(os.sched_getaffinity(0)), type=int)
    parser.add_argument("--memory-requests", default=[10, 1000], type=numbers, help="after how many requests memory is read")
    parser.add_argument("--agreement", default=0.99, type=float, help="the least share of equal pixels")
    parser.add_argument("--options", default=[], type=str.split, help="more options of our server, e.g. '--max-batch 1'")
    parser.add_argument("--json", help="write all figures to this file")
    for hidden in ("--address", "--path", "--content-type", "--body", "--expected"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    for hidden in ("--generate-clients", "--generate-requests"):
        parser.add_argument(hidden, default=0, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.generate_clients:
        return generate(args)
    args.program = str(pathlib.Path(args.program).resolve())
    with tempfile.TemporaryDirectory() as folder:
        result = compare(args, pathlib.Path(folder))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1))
    table(result, args)
    for name, figures in result.items():
        if figures.get("mask_agreement", 1) < args.agreement:
            sys.exit(f"{name} has {figures['mask_agreement']:.4%} of the pixels like {OURS}, not {args.agreement:.2%}")


if __name__ == "__main__":
    main()
