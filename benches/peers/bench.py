#!/usr/bin/env python3
"""The same networks in candle-deeplab and in other runtimes, from preprocessed pixels to the class of each, side by side.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    python benches/peers/bench.py --weights MODEL [--weights MODEL ...] [--size 513x513] [--threads 2] [--dtype bf16] [--runs 20] [--rounds 3]
    python benches/peers/bench.py --weights MODEL --device cuda --dtype bf16 --batch 16

Each network is exported to ONNX once. Every contestant is a process of its own, with the same input and number of
threads, one after the other; the round is repeated, so that a slow moment of the machine hits all alike. A figure is the
median over the rounds of a process's own. Every mask is compared with ours in f32. In bf16, torch's networks are
converted whole, and onnxruntime is left out: its CPU kernels have no such type.

With --device cuda, ours is the fused executor, pixels and masks stay on the GPU, and the peers are torch's three forms.
"""
import argparse, json, os, pathlib, resource, statistics, subprocess, sys, tempfile, time

OURS, REFERENCE, EAGER = "candle-deeplab", "candle-deeplab f32", "candle-deeplab eager"
PEERS = ["onnxruntime", "openvino", "torch eager", "torch channels-last", "torch compiled"]
FIGURES = ["median_ms", "min_ms", "p90_ms", "cold_start_ms", "peak_rss_mib"]


def pixels(batch, height, width):
    """What `candle-deeplab bench` runs on."""
    import numpy as np
    return (np.arange(batch * 3 * height * width) % 509).astype(np.float32).reshape(batch, 3, height, width) / np.float32(254) - 1


def onnxruntime(path, threads, dtype, device):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"input": x})[0]


def openvino(path, threads, dtype, device):
    import openvino
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": dtype}
    request = openvino.Core().compile_model(path, "CPU", config).create_infer_request()
    return lambda x: request.infer({"input": x})["mask"]


def torch_module(path):
    """The exported operators as a torch module."""
    import onnx, torch
    from onnx import helper, numpy_helper
    from torch.nn import functional as F

    graph = onnx.load(path).graph
    constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}

    def padded(x, pads, value=0.0):
        top, left, bottom, right = pads
        return ((top, left), x) if (top, left) == (bottom, right) else ((0, 0), F.pad(x, (left, right, top, bottom), value=value))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.steps = []
            for node in graph.node:
                get = {a.name: helper.get_attribute_value(a) for a in node.attribute}
                if node.op_type == "Conv":
                    weight, bias = (torch.nn.Parameter(constants[name], requires_grad=False) for name in node.input[1:3])
                    self.register_parameter(f"w{len(self.steps)}", weight)
                    self.register_parameter(f"b{len(self.steps)}", bias)
                self.steps.append((len(self.steps), node.op_type, list(node.input), node.output[0], get))

        def forward(self, x):
            values = {"input": x}
            for index, kind, inputs, output, get in self.steps:
                x = values[inputs[0]]
                if kind == "Conv":
                    pad, x = padded(x, get.get("pads", [0] * 4))
                    y = F.conv2d(x, getattr(self, f"w{index}"), getattr(self, f"b{index}"), get.get("strides", 1), pad,
                                 get.get("dilations", 1), get["group"])
                elif kind == "Relu":
                    y = F.relu(x)
                elif kind == "Clip":
                    y = x.clamp(float(constants[inputs[1]]), float(constants[inputs[2]]))
                elif kind == "Add":
                    y = x + values[inputs[1]]
                elif kind == "Mul":
                    y = x * values[inputs[1]]
                elif kind == "HardSwish":
                    y = F.hardswish(x)
                elif kind == "HardSigmoid":
                    y = F.hardsigmoid(x)
                elif kind == "Pad":
                    top, left, bottom, right = [int(side) for side in constants[inputs[1]][[2, 3, 6, 7]]]
                    y = F.pad(x, (left, right, top, bottom))
                elif kind == "Concat":
                    y = torch.cat([values[name] for name in inputs], get["axis"])
                elif kind == "MaxPool":
                    pad, x = padded(x, get["pads"], float("-inf"))
                    y = F.max_pool2d(x, get["kernel_shape"], get["strides"], pad)
                elif kind == "GlobalAveragePool":
                    y = x.mean((2, 3), keepdim=True)
                elif kind == "Resize":
                    corners = get["coordinate_transformation_mode"] == b"align_corners"
                    size = [int(side) for side in constants[inputs[3]][2:]]
                    y = F.interpolate(x, size, mode="bilinear", align_corners=corners)
                elif kind == "ArgMax":
                    y = x.argmax(get["axis"])
                elif kind == "Cast":
                    y = x.to(torch.uint8)
                else:
                    raise NotImplementedError(kind)
                values[output] = y
            return y

    return Network().eval()


def torch_peer(mode):
    def make(path, threads, dtype, device):
        import torch
        torch.set_num_threads(threads)
        numbers, layout = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype], torch.contiguous_format
        network = torch_module(path).to(numbers).to(device)
        if mode == "torch channels-last":
            layout = torch.channels_last
            network = network.to(memory_format=layout)
        if mode == "torch compiled":
            # On a GPU, channels last is the faster layout.
            layout = torch.channels_last if device == "cuda" else layout
            network = torch.compile(network.to(memory_format=layout))
        if device == "cuda":
            held = {}

            def run_there(x):
                """The pixels go there once; the classes stay."""
                with torch.inference_mode():
                    if not held:
                        held["x"] = torch.from_numpy(x).to(device).to(numbers, memory_format=layout)
                    mask = network(held["x"])
                    torch.cuda.synchronize()
                    return mask
            return run_there

        def run(x):
            with torch.inference_mode():
                return network(torch.from_numpy(x).to(numbers, memory_format=layout)).numpy()
        return run
    return make


MAKERS = {"onnxruntime": onnxruntime, "openvino": openvino, **{mode: torch_peer(mode) for mode in PEERS[2:]}}


def process_age():
    ticks = int(pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return float(pathlib.Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def run_peer(args):
    """In a process of its own: measures one peer, prints the figures, writes the mask."""
    height, width = args.size
    run = MAKERS[args.peer](args.model, args.threads, args.dtype, args.device)
    x = pixels(args.batch, height, width)
    mask = run(x)
    cold = process_age() * 1e3
    times = []
    for _ in range(args.runs):
        start = time.perf_counter()
        run(x)
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    at = lambda share: times[round((len(times) - 1) * share)]
    mask = mask.astype("uint8") if args.device == "cpu" else mask.to("cpu").numpy()
    pathlib.Path(args.save_mask).write_bytes(mask.tobytes())
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"median_ms": at(0.5), "min_ms": at(0), "p90_ms": at(0.9), "cold_start_ms": cold, "peak_rss_mib": rss}))


def contestant(name, weights, model, mask, args):
    """One process of one contestant: its figures."""
    size, threads, runs = "x".join(map(str, args.size)), str(args.threads), str(args.runs)
    common = ["--size", size, "--threads", threads, "--runs", runs, "--save-mask", mask, "--batch", str(args.batch)]
    if name in (OURS, REFERENCE, EAGER):
        command = [args.program, "bench", "--weights", weights, "--json", *common]
        command += ["--device", args.device, "--executor", args.executor] if name != EAGER else ["--device", args.device]
        command += ["--dtype", args.dtype] if name == OURS else []
        command += ["--executor", "eager"] if name == EAGER else []
    else:
        command = [sys.executable, __file__, "--peer", name, "--model", model, "--dtype", args.dtype, "--device", args.device,
                   *common]
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(weights, args, folder):
    model = str(folder / "model.onnx")
    size = "x".join(map(str, args.size))
    export = ["export", "onnx", "--weights", weights, "--size", size, "--head", "mask", "-o", model]
    subprocess.run([args.program, *export], check=True, stdout=subprocess.DEVNULL)
    names = [OURS, *args.peers, *([REFERENCE] if args.dtype != "f32" else []), *([EAGER] if args.eager else [])]
    reference = REFERENCE if REFERENCE in names else OURS
    figures, masks = {name: [] for name in names}, {}
    for round_ in range(args.rounds):
        # Nobody always runs behind the same one.
        for name in names[round_ % len(names):] + names[:round_ % len(names)]:
            mask = folder / f"{names.index(name)}-{round_}.mask"
            figures[name].append(contestant(name, weights, model, str(mask), args))
            masks[name] = mask.read_bytes()
            print(f"  round {round_ + 1}: {name}: {figures[name][-1]['median_ms']:.1f} ms", file=sys.stderr)
    result = {name: {f: statistics.median(run[f] for run in runs) for f in FIGURES} for name, runs in figures.items()}
    for name in names:
        if len(masks[name]) != len(masks[reference]):
            sys.exit(f"{name} gave {len(masks[name])} pixels, {reference} {len(masks[reference])}")
        same = sum(a == b for a, b in zip(masks[name], masks[reference])) / len(masks[reference])
        result[name]["mask_agreement"] = same
    if args.device == "cpu":
        result[OURS]["peak_gflops"] = statistics.median(run["peak_gflops"] for run in figures[OURS])
    result[OURS]["gflops"] = statistics.median(run["gflops"] for run in figures[OURS])
    return result


def table(weights, result):
    best = {f: min(result[name][f] for name in result if name not in (OURS, REFERENCE, EAGER)) for f in FIGURES}
    print(f"\n{weights}\n{'':22}{'median':>10}{'min':>10}{'p90':>10}{'cold start':>13}{'peak MiB':>10}{'same mask':>11}{'ours/its':>10}")
    for name, r in result.items():
        times = "".join(f"{r[f]:10.1f}" for f in FIGURES[:3]) + f"{r['cold_start_ms']:13.0f}{r['peak_rss_mib']:10.0f}"
        print(f"{name:22}{times}{r['mask_agreement']:11.3%}{result[OURS]['median_ms'] / r['median_ms']:10.2f}")
    ratios = {f: result[OURS][f] / best[f] for f in ("median_ms", "cold_start_ms", "peak_rss_mib")}
    print("ours to the best peer: median {median_ms:.2f}, cold start {cold_start_ms:.2f}, peak memory {peak_rss_mib:.2f}".format(**ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", action="append", help="a model directory; may be given again")
    parser.add_argument("--size", default=(513, 513), type=lambda text: tuple(map(int, text.split("x"))))
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--runs", default=20, type=int, help="calls that a process times, after its first")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--peers", default=PEERS, type=lambda text: text.split(","), help=",".join(PEERS))
    parser.add_argument("--eager", action="store_true", help="our reference executor too")
    parser.add_argument("--agreement", type=float, help="the least share of equal pixels: 0.999 in f32, 0.99 in bf16")
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16", "f16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", default=1, type=int)
    parser.add_argument("--executor", help="ours, as `candle-deeplab bench` has it [default: auto, on a GPU cuda-fused]")
    parser.add_argument("--program", default="target/release/candle-deeplab")
    parser.add_argument("--json", help="write all figures to this file, after each model")
    for hidden in ("--peer", "--model", "--save-mask"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return run_peer(args)
    if not args.weights:
        parser.error("give a model directory with --weights")
    if unknown := [name for name in args.peers if name not in MAKERS]:
        parser.error(f"no peer is called {', '.join(unknown)}: choose from {', '.join(PEERS)}")
    args.executor = args.executor or ("cuda-fused" if args.device == "cuda" else "auto")
    if args.device == "cuda" or args.batch > 1:
        # The exported network has batch 1, which only torch's module does not mind.
        args.peers = [name for name in args.peers if name.startswith("torch")]
    args.peers = [name for name in args.peers if (name, args.dtype) != ("onnxruntime", "bf16")]
    if not args.peers:
        parser.error("none of the peers can do that: choose other --peers, --dtype f32, or --batch 1 on the CPU")
    results = {}
    for weights in args.weights:
        with tempfile.TemporaryDirectory() as folder:
            results[weights] = compare(weights, args, pathlib.Path(folder))
        # After each model: what was measured stays, whatever becomes of the next one.
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(results, indent=1))
        table(weights, results[weights])
    least = args.agreement if args.agreement is not None else {"f32": 0.999}.get(args.dtype, 0.99)
    for weights, result in results.items():
        for name, figures in result.items():
            if figures["mask_agreement"] < least:
                sys.exit(f"{weights}: {name} has {figures['mask_agreement']:.4%} of the pixels like {OURS} in f32, not {least:.2%}")


if __name__ == "__main__":
    main()
