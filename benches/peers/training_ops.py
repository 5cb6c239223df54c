"""Times the operations of a training step beside PyTorch's: the same shapes, threads and data type (f32), in turns.

    cargo bench -p candle-deeplab --bench training --no-run   # prints the program's path
    python benches/peers/training_ops.py PROGRAM [--threads 2] [--rounds 5] [--only NAME]

A line for each operation: milliseconds forward and backward here and in PyTorch, and their ratios (below 1: we are
faster). The last lines are ratios of sums by kind of operation. Shapes: DeepLabv3+ on MobileNetV2, ResNet-50 and
Xception at 360x480, batch 4, output stride 16.
"""

import argparse
import os
import statistics
import subprocess
import time

OPERATIONS = """
stem        conv 4 3 360 480 32 3 2 1 1
stem        conv 4 3 360 480 64 7 2 1 1
depthwise   conv 4 32 180 240 32 3 1 1 32
depthwise   conv 4 96 180 240 96 3 2 1 96
depthwise   conv 4 144 90 120 144 3 1 1 144
depthwise   conv 4 144 90 120 144 3 2 1 144
depthwise   conv 4 192 45 60 192 3 1 1 192
depthwise   conv 4 192 45 60 192 3 2 1 192
depthwise   conv 4 384 23 30 384 3 1 1 384
depthwise   conv 4 960 23 30 960 3 1 2 960
depthwise   conv 4 728 23 30 728 3 1 1 728
depthwise   conv 4 2048 23 30 2048 3 1 12 2048
pointwise   conv 4 32 180 240 16 1 1 1 1
pointwise   conv 4 16 180 240 96 1 1 1 1
pointwise   conv 4 96 90 120 24 1 1 1 1
pointwise   conv 4 24 90 120 144 1 1 1 1
pointwise   conv 4 32 45 60 192 1 1 1 1
pointwise   conv 4 384 23 30 96 1 1 1 1
pointwise   conv 4 160 23 30 960 1 1 1 1
pointwise   conv 4 728 23 30 728 1 1 1 1
pointwise   conv 4 64 90 120 256 1 1 1 1
pointwise   conv 4 512 23 30 2048 1 1 1 1
pointwise   conv 4 320 1 1 256 1 1 1 1
strided     conv 4 256 90 120 512 1 2 1 1
dense       conv 4 64 90 120 64 3 1 1 1
dense       conv 4 128 45 60 128 3 1 1 1
dense       conv 4 128 90 120 128 3 2 1 1
dense       conv 4 256 23 30 256 3 1 1 1
dense       conv 4 512 23 30 512 3 1 2 1
dense       conv 4 2048 23 30 256 3 1 12 1
dense       conv 4 304 90 120 256 3 1 1 1
norm        norm 4 32 180 240
norm        norm 4 96 180 240
norm        norm 4 144 90 120
norm        norm 4 256 90 120
norm        norm 4 960 23 30
norm        norm 4 256 1 1
relu        relu 4 96 180 240
relu        relu 4 256 23 30
add         add 4 256 90 120
add         add 4 728 23 30
pool        pool 4 320 23 30
max         max 4 64 180 240
concat      concat 4 256 23 30
resize      resize 4 256 1 1 23 30
resize      resize 4 256 23 30 90 120
resize      resize 4 11 90 120 360 480
"""


class Ours:
    def __init__(self, program, threads):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def times(self, operation, repeats):
        self.process.stdin.write(f"{repeats} {operation}\n")
        self.process.stdin.flush()
        return tuple(float(word) for word in self.process.stdout.readline().split())


class Torch:
    def __init__(self, threads):
        import torch

        self.torch = torch
        torch.set_num_threads(threads)

    def times(self, operation, repeats):
        torch, functional = self.torch, self.torch.nn.functional
        name, *sizes = operation.split()
        n, c, h, w, *rest = map(int, sizes)
        x = torch.randn(n, c, h, w, requires_grad=c > 3)
        wanted = [x] if c > 3 else []
        if name == "conv":
            out, kernel, stride, dilation, groups = rest
            weight = torch.randn(out, c // groups, kernel, kernel, requires_grad=True)
            padding = kernel // 2 * dilation
            forward = lambda: functional.conv2d(x, weight, None, stride, padding, dilation, groups)
            wanted.append(weight)
        elif name == "norm":
            gamma, beta = (torch.randn(c, requires_grad=True) for _ in range(2))
            mean, variance = torch.zeros(c), torch.ones(c)
            # ReLU in place, as in torchvision's networks.
            normal = lambda: functional.batch_norm(x, mean, variance, gamma, beta, training=True)
            forward = lambda: functional.relu_(normal())
            wanted += [gamma, beta]
        elif name == "relu":
            forward = lambda: functional.relu(x)
        elif name == "add":
            forward = lambda: x + x
        elif name == "pool":
            forward = lambda: functional.adaptive_avg_pool2d(x, 1)
        elif name == "max":
            forward = lambda: functional.max_pool2d(x, 3, 2, 1)
        elif name == "concat":
            forward = lambda: torch.cat([x, x], 1)
        elif name == "resize":
            forward = lambda: functional.interpolate(x, tuple(rest), mode="bilinear", align_corners=False)
        dy = forward().detach()
        forwards, backwards = [], []
        for _ in range(repeats):
            start = time.perf_counter()
            y = forward()
            middle = time.perf_counter()
            torch.autograd.grad(y, wanted, dy)
            del y
            backwards.append(time.perf_counter() - middle)
            forwards.append(middle - start)
        return statistics.median(forwards) * 1e3, statistics.median(backwards) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    peers = [Ours(args.program, args.threads), Torch(args.threads)]
    sums = {}
    for line in filter(None, OPERATIONS.splitlines()):
        kind, operation = line.split(maxsplit=1)
        if args.only not in line:
            continue
        rounds = [[peer.times(operation, args.repeats) for peer in peers] for _ in range(args.rounds)]
        ours, theirs = ([min(times) for times in zip(*peer)] for peer in zip(*rounds))
        ratios = " ".join(f"{a / b:6.2f}" for a, b in zip(ours, theirs))
        figures = " ".join(f"{time:8.2f}" for time in ours + theirs)
        print(f"{operation:40} {figures}   {ratios}", flush=True)
        total = sums.setdefault(kind, [0.0] * 4)
        total[:] = [a + b for a, b in zip(total, ours + theirs)]
    for kind, (forward, backward, their_forward, their_backward) in sums.items():
        both = (forward + backward) / (their_forward + their_backward)
        print(f"{kind:12} {forward / their_forward:6.2f} {backward / their_backward:6.2f}   both {both:6.2f}")


if __name__ == "__main__":
    main()
