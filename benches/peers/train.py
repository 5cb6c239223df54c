#!/usr/bin/env python3
"""Training steps (forward, loss, backward, SGD with momentum) in candle-deeplab and in PyTorch, side by side.

    pip install torch numpy safetensors
    cargo build --release -p candle-deeplab-train --example step
    python benches/peers/train.py [--networks mobilenet_v2 xception resnet50] [--threads 2] [--steps 5] [--rounds 3]

Every contestant is a process of its own, with the same weights, images, labels and number of threads, one after the other;
the round is repeated, so that a slow moment of the machine hits all alike. A figure is the median over the rounds of a
process's own median; the memory is the greatest of the process. The losses of the first step must agree.
"""
import argparse, json, math, os, pathlib, shutil, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = "candle-deeplab"
MODES = ["torch eager", "torch channels-last", "torch compiled"]
CLASSES, WARM_UP, RATE = 21, 2, 1e-3


def networks():
    """Name, network, size, batch."""
    def network(backbone, output_stride, align_corners, low_level, convolution):
        aspp = dict(width=256, rates=[6, 12, 18], image_pooling="first", convolution=convolution, projection_kernel=1,
                    refine=None, batch_norm_eps=1e-5)
        decoder = dict(low_level=low_level, low_level_width=48, concat="aspp_first", widths=[256, 256], convolution=convolution)
        return dict(backbone=backbone, output_stride=output_stride, multi_grid=[1, 1, 1], normalization="batch_norm",
                    align_corners=align_corners, aspp=aspp, decoder=decoder, classes=CLASSES)

    blocks, last = [], None
    for width, count, stride in [(16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)]:
        for i in range(count):
            blocks.append(dict(expansion=last and last * 6, width=width, stride=stride if i == 0 else 1))
            last = width
    mobilenet = dict(type="mobilenet_v2", stem=32, blocks=blocks, head=None, padding="same", padded_stem=True,
                     dilation_start="next_unit", batch_norm_eps=1e-3)
    xception = dict(type="xception", stem=[16, 32], entry=[dict(width=w, stride=2) for w in (64, 128, 256)], middle_blocks=8,
                    exit=[[256, 320, 320], [384, 384, 512]], in_place_relu=False, exit_depthwise_relu=True,
                    dilate_strided=True, batch_norm_eps=1e-3)
    resnet = dict(type="resnet", stem=dict(type="single", width=64), unit=dict(type="bottleneck"), pool_padding="symmetric",
                  strided_unit="first", dilation_start="next_unit", multi_grid_rule="factors", units=[3, 4, 6, 3],
                  widths=[256, 512, 1024, 2048], batch_norm_eps=1e-5)
    return {
        "mobilenet_v2": (network(mobilenet, 16, True, "block3.depthwise", "separable"), (360, 480), 4),
        "xception": (network(xception, 16, True, "entry_flow.block2.sepconv2", "separable"), (257, 257), 4),
        "resnet50": (network(resnet, 16, False, "block1", "dense"), (257, 257), 4),
    }


def run_torch(mode, file, height, width, batch, steps, threads):
    """In a process of its own."""
    import numpy as np, torch
    import torch.nn.functional as F
    sys.path.insert(0, str(ROOT / "candle-deeplab-train/tests/golden"))
    import make_gradients as golden

    torch.set_num_threads(threads)
    config = json.loads(pathlib.Path(file).read_text())
    shape = (batch, 3, height, width)
    pixels = torch.from_numpy(golden.centred("pixels", math.prod(shape)) * np.float32(10)).reshape(shape)
    rows, columns = np.arange(height)[:, None] // 16, np.arange(width)[None] // 16
    labels = (rows + columns) % (CLASSES + 1)
    labels = torch.from_numpy(np.where(labels == CLASSES, 255, labels).astype(np.int64)).expand(batch, -1, -1).contiguous()
    net = golden.Net(config, torch.float32).train()
    with torch.no_grad():
        net(pixels[:, :, :65, :65].contiguous())  # makes the modules
    floats = {key: value for key, value in net.state_dict().items() if value.is_floating_point()}
    net.load_state_dict({key: golden.weights(key, tuple(value.shape)).float() for key, value in floats.items()}, strict=False)
    if mode == "torch channels-last":
        net, pixels = net.to(memory_format=torch.channels_last), pixels.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, weight_decay=4e-5)

    def judged(x, labels):
        logits = net(x)[0]
        return F.cross_entropy(net.resize(logits, (height, width)), labels, ignore_index=255)

    if mode == "torch compiled":
        judged = torch.compile(judged)
    times, losses = [], []
    for step in range(WARM_UP + steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = judged(pixels, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append((time.perf_counter() - start) * 1e3)
    times = times[WARM_UP:]
    print(json.dumps(dict(median_ms=statistics.median(times), min_ms=min(times), first_loss=losses[0], last_loss=losses[-1])))


def contest(command, threads):
    """Runs a process; its figures, and its greatest memory in MiB."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        lines = out.read().strip().splitlines()
    if status or not lines:
        return None
    return json.loads(lines[-1]) | {"peak_mib": usage.ru_maxrss / 1024}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--networks", nargs="+", default=list(networks()), choices=list(networks()))
    ap.add_argument("--modes", nargs="*", default=None, choices=MODES)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--steps", type=int, default=5)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--step", default=str(ROOT / "target/release/examples/step"), help="the built example")
    ap.add_argument("--peer", nargs=6, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.peer:
        mode, file, *numbers = a.peer
        return run_torch(mode, file, *map(int, numbers), a.threads)
    modes = a.modes
    if modes is None:
        compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        modes = MODES if compiler else MODES[:-1]
        if not compiler:
            print("no C++ compiler: torch.compile is left out")
    for name in a.networks:
        config, (height, width), batch = networks()[name]
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "network.json"
            file.write_text(json.dumps(config))
            numbers = [str(n) for n in (height, width, batch, a.steps)]
            contestants = {OURS: [a.step, str(file), f"{height}x{width}", str(batch), str(a.steps)]}
            for mode in modes:
                contestants[mode] = [sys.executable, __file__, "--threads", str(a.threads), "--peer", mode, str(file), *numbers]
            found = {contestant: [] for contestant in contestants}
            for _ in range(a.rounds):
                for contestant, command in contestants.items():
                    found[contestant].append(contest(command, a.threads))
        print(f"\n{name}, {height}×{width}, batch {batch}, {a.threads} threads")
        ours = None
        for contestant, runs in found.items():
            runs = [run for run in runs if run]
            if not runs:
                print(f"  {contestant:20} failed")
                continue
            median = statistics.median(run["median_ms"] for run in runs)
            least, peak = min(run["min_ms"] for run in runs), max(run["peak_mib"] for run in runs)
            if contestant == OURS:
                ours = (median, runs[0]["first_loss"])
            note = ""
            if contestant != OURS and ours:
                note = f"   ours / theirs {ours[0] / median:.2f}"
                if abs(runs[0]["first_loss"] - ours[1]) > 1e-3 * abs(ours[1]):
                    note += f"   ANOTHER LOSS: {runs[0]['first_loss']:.5f}, ours {ours[1]:.5f}"
            print(f"  {contestant:20} {median:9.1f} ms   least {least:9.1f} ms   {peak:7.0f} MiB{note}")
        if ours:
            runs = [run for run in found[OURS] if run]
            kinds = {kind for run in runs for kind in run["profile_ms"]}
            rows = {kind: [statistics.median(run["profile_ms"].get(kind, [0, 0])[i] for run in runs) for i in (0, 1)] for kind in kinds}
            print("  ours by kind, forward and backward, ms:")
            for kind, (forward, backward) in sorted(rows.items(), key=lambda row: -sum(row[1])):
                print(f"    {kind:32} {forward:8.1f} {backward:8.1f}")


if __name__ == "__main__":
    main()
