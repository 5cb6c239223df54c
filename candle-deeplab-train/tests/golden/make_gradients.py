#!/usr/bin/env python3
"""Write what PyTorch says of a training step of narrow networks: FOLDER/gradients/NAME.{json,safetensors}.

NAME.json is the network as in a model's config.json. The modules below are written after the papers and are named as the
network's parameters; weights, pixels and labels are hashes of their names (tests/support/hash.rs). All is computed in
float64. NAME.safetensors holds

    loss         softmax cross-entropy of the upsampled logits without ignored pixels (+ 0.4 that of an auxiliary head)
    gradients    for each parameter in the order of the names: all values if there are at most 16, or else the norm and
                 four projections on the hashes `NAME:projection0` to `NAME:projection3`
    statistics   the running statistics after the step (momentum 0.1), in the order of the names

Needs torch, numpy and safetensors.
"""
import argparse, json, math, pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

M64 = (1 << 64) - 1
CLASSES, BATCH, HEIGHT, WIDTH = 5, 2, 33, 41
MOST_WHOLE, PROJECTIONS = 16, 4
# Names of images with which no activation comes within 2e-5 of its bend.
PIXELS = {"xception": "pixels", "resnet": "pixels1", "mobilenet_v2": "pixels5"}


def uniform(name, n):
    seed = 0xCBF29CE484222325
    for b in name.encode():
        seed = ((seed ^ b) * 0x100000001B3) & M64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def centred(name, n):
    return (np.float32(2) * uniform(name, n) - np.float32(1)) * np.float32(0.1)


def weights(name, shape):
    n = math.prod(shape)
    if len(shape) == 4:
        v = (np.float32(2) * uniform(name, n) - np.float32(1)) * np.float32(math.sqrt(6 / math.prod(shape[1:])))
    elif name.rsplit(".", 1)[-1] in ("weight", "running_var"):
        v = np.float32(0.8) + np.float32(0.4) * uniform(name, n)
    else:
        v = centred(name, n)
    return torch.from_numpy(v.astype(np.float64).reshape(shape))


def same(size, kernel, stride, rate):
    """TensorFlow's SAME: an odd row goes after the last."""
    total = max((math.ceil(size / stride) - 1) * stride + rate * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


class ConvBn(nn.Conv2d):
    """A convolution named as its weight, with its norm below it."""

    def __init__(self, inputs, outputs, kernel, stride=1, rate=1, depthwise=False, eps=1e-5, act=None, tf_same=False):
        super().__init__(inputs, outputs, kernel, stride, 0 if tf_same else kernel // 2 * rate, rate,
                         inputs if depthwise else 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps, momentum=0.1)
        self.act, self.tf_same = act, tf_same

    def forward(self, x):
        if self.tf_same:
            k, s, r = self.kernel_size[0], self.stride[0], self.dilation[0]
            (top, bottom), (left, right) = same(x.shape[2], k, s, r), same(x.shape[3], k, s, r)
            x = F.pad(x, (left, right, top, bottom))
        return activation(self.bn(super().forward(x)), self.act)


# How near a bend any value comes, if it is noted: there, rounding would change gradients by whole terms.
MARGIN = []


def activation(z, act):
    if MARGIN:
        for bend in {None: [], "relu": [0], "relu6": [0, 6]}[act]:
            apart = (z.detach() - bend).abs()
            # A second ReLU sees zeros of the first.
            MARGIN[0] = min(MARGIN[0], apart[apart > 0].min().item())
    return {None: lambda z: z, "relu": F.relu, "relu6": F.relu6}[act](z)


class Net(nn.Module):
    """Modules by the dotted paths of the network's nodes. A path without a module yet gets one."""

    def __init__(self, config, dtype=torch.float64):
        super().__init__()
        self.config, self.dtype, self.found = config, dtype, {}

    def at(self, path, make):
        if path not in self.found:
            *scopes, leaf = path.split(".")
            below = self
            for scope in scopes:
                if not hasattr(below, scope):
                    below.add_module(scope, nn.Module())
                below = getattr(below, scope)
            below.add_module(leaf, make().to(self.dtype))
            self.found[path] = getattr(below, leaf)
        return self.found[path]

    def conv(self, path, x, outputs, kernel, **options):
        if not path.startswith("backbone."):
            options["eps"] = self.config["aspp"]["batch_norm_eps"]
        return self.at(path, lambda: ConvBn(x.shape[1], outputs, kernel, **options))(x)

    def depthwise(self, path, x, **options):
        return self.conv(path, x, x.shape[1], 3, depthwise=True, **options)

    def logits(self, path, x):
        return self.at(path, lambda: nn.Conv2d(x.shape[1], self.config["classes"], 1))(x)

    def resize(self, x, size):
        return F.interpolate(x, size=size, mode="bilinear", align_corners=self.config["align_corners"])

    def head_conv(self, path, x, width, rate, kind):
        if kind == "dense":
            return self.conv(f"{path}.conv", x, width, 3, rate=rate, act="relu")
        x = self.depthwise(f"{path}.depthwise", x, rate=rate, act="relu")
        return self.conv(f"{path}.pointwise", x, width, 1, act="relu")

    def forward(self, image):
        config = self.config
        taps = {}
        kind = config["backbone"]["type"]
        backbone = {"xception": self.xception, "resnet": self.resnet, "mobilenet_v2": self.mobilenet_v2}[kind]
        x = backbone(image, config["backbone"], taps)
        size = x.shape[2:]
        aspp, decoder = config["aspp"], config["decoder"]
        branches = [self.conv("aspp.branch0", x, aspp["width"], 1, act="relu")]
        for i, rate in enumerate(aspp["rates"]):
            branches.append(self.head_conv(f"aspp.branch{i + 1}", x, aspp["width"], rate, aspp["convolution"]))
        pooled = self.conv("aspp.image_pooling.conv", x.mean((2, 3), keepdim=True), aspp["width"], 1, act="relu")
        pooled = self.resize(pooled, size)
        branches = [pooled] + branches if aspp["image_pooling"] == "first" else branches + [pooled]
        x = self.conv("aspp.projection", torch.cat(branches, 1), aspp["width"], 1, act="relu")
        low = self.conv("decoder.low_level", taps[decoder["low_level"]], decoder["low_level_width"], 1, act="relu")
        x = self.resize(x, low.shape[2:])
        x = torch.cat([x, low] if decoder["concat"] == "aspp_first" else [low, x], 1)
        for i, width in enumerate(decoder["widths"]):
            x = self.head_conv(f"decoder.conv{i + 1}", x, width, 1, decoder["convolution"])
        heads = [self.logits("classifier", x)]
        if auxiliary := config.get("auxiliary"):
            x = taps[auxiliary["tap"]]
            for i, width in enumerate(auxiliary["widths"]):
                x = self.head_conv(f"auxiliary.conv{i + 1}", x, width, 1, "dense")
            heads.append(self.logits("auxiliary.classifier", x))
        return heads

    def xception(self, image, layout, taps):
        eps = layout["batch_norm_eps"]

        def unit(path, x, widths, stride, rate, skip, relu_after=False):
            act, y = ("relu" if relu_after else None), x
            for i, width in enumerate(widths):
                y = y if relu_after else activation(y, "relu")
                y = self.depthwise(f"backbone.{path}.sepconv{i + 1}.depthwise", y, rate=rate, eps=eps, act=act,
                                   stride=stride if i == 2 else 1)
                y = self.conv(f"backbone.{path}.sepconv{i + 1}.pointwise", y, width, 1, eps=eps, act=act)
                taps[f"{path}.sepconv{i + 1}"] = y
            if skip == "conv":
                y = y + self.conv(f"backbone.{path}.shortcut", x, widths[2], 1, stride=stride, eps=eps)
            elif skip == "sum":
                y = y + x
            return y

        x = self.conv("backbone.entry_flow.conv1", image, layout["stem"][0], 3, stride=2, eps=eps, act="relu")
        x = self.conv("backbone.entry_flow.conv2", x, layout["stem"][1], 3, eps=eps, act="relu")
        for i, block in enumerate(layout["entry"]):
            x = unit(f"entry_flow.block{i + 1}", x, [block["width"]] * 3, block["stride"], 1, "conv")
        for i in range(layout["middle_blocks"]):
            x = unit(f"middle_flow.block{i + 1}", x, [x.shape[1]] * 3, 1, 1, "sum")
        # At output stride 16 the first exit block loses its stride, and the second has rate 2.
        x = unit("exit_flow.block1", x, layout["exit"][0], 1, 1, "conv")
        return unit("exit_flow.block2", x, layout["exit"][1], 1, 2, None, relu_after=True)

    def resnet(self, image, layout, taps):
        x = self.conv("backbone.conv1", image, layout["stem"]["width"], 7, stride=2, act="relu")
        x = F.max_pool2d(x, 3, 2, 1)
        # A block that would lead past the output stride dilates from its second unit on, and so do the next ones.
        strides, rates = {
            8: ([1, 2, 1, 1], [(1, 1), (1, 1), (1, 2), (2, 4)]),
            16: ([1, 2, 2, 1], [(1, 1), (1, 1), (1, 1), (1, 2)]),
        }[self.config["output_stride"]]
        for b, (units, width) in enumerate(zip(layout["units"], layout["widths"])):
            for u in range(units):
                path = f"backbone.block{b + 1}.unit{u + 1}"
                stride, rate = (strides[b], rates[b][0]) if u == 0 else (1, rates[b][1])
                skip = x if x.shape[1] == width else self.conv(f"{path}.shortcut", x, width, 1, stride=stride)
                y = self.conv(f"{path}.conv1", x, width // 4, 1, act="relu")
                y = self.conv(f"{path}.conv2", y, width // 4, 3, stride=stride, rate=rate, act="relu")
                x = activation(self.conv(f"{path}.conv3", y, width, 1) + skip, "relu")
            taps[f"block{b + 1}"] = x
        return x

    def mobilenet_v2(self, image, layout, taps):
        eps = layout["batch_norm_eps"]
        x = self.conv("backbone.stem", image, layout["stem"], 3, stride=2, eps=eps, act="relu6", tf_same=True)
        reached, rate = 2, 1
        for i, block in enumerate(layout["blocks"]):
            path = f"backbone.block{i + 1}"
            # Past output stride 16, a stride is none, and the next block dilates.
            stride, this_rate = block["stride"], rate
            if stride > 1 and reached == 16:
                stride, rate = 1, rate * stride
            reached *= stride
            y = x
            if block["expansion"] is not None:
                y = self.conv(f"{path}.expand", y, block["expansion"], 1, eps=eps, act="relu6")
            y = self.depthwise(f"{path}.depthwise", y, stride=stride, rate=this_rate, eps=eps, act="relu6", tf_same=True)
            taps[f"block{i + 1}.depthwise"] = y
            y = self.conv(f"{path}.project", y, block["width"], 1, eps=eps)
            x = y + x if stride == 1 and x.shape[1] == block["width"] else y
        return x


def network(backbone, output_stride, align_corners, low_level, convolution, pooling, auxiliary=None, head_eps=1e-5):
    aspp = dict(width=12, rates=[1, 2, 3], image_pooling=pooling, convolution=convolution, projection_kernel=1, refine=None,
                batch_norm_eps=head_eps)
    decoder = dict(low_level=low_level, low_level_width=6, concat="aspp_first" if align_corners else "low_level_first",
                   widths=[14, 12], convolution=convolution)
    config = dict(backbone=backbone, output_stride=output_stride, multi_grid=[1, 1, 1], normalization="batch_norm",
                  align_corners=align_corners, aspp=aspp, decoder=decoder, classes=CLASSES)
    return config | ({"auxiliary": auxiliary} if auxiliary else {})


def networks():
    xception = dict(type="xception", stem=[8, 12], entry=[dict(width=w, stride=2) for w in (12, 16, 24)], middle_blocks=2,
                    exit=[[24, 32, 32], [32, 32, 40]], in_place_relu=False, exit_depthwise_relu=True, dilate_strided=True,
                    batch_norm_eps=1e-3)
    resnet = dict(type="resnet", stem=dict(type="single", width=8), unit=dict(type="bottleneck"), pool_padding="symmetric",
                  strided_unit="first", dilation_start="next_unit", multi_grid_rule="factors", units=[2, 2, 2, 2],
                  widths=[16, 24, 32, 48], batch_norm_eps=1e-5)
    blocks, last = [], None
    for width, count, stride in [(6, 1, 1), (8, 2, 2), (10, 2, 2), (14, 2, 2), (18, 1, 1), (24, 2, 2), (32, 1, 1)]:
        for i in range(count):
            blocks.append(dict(expansion=last and last * 3, width=width, stride=stride if i == 0 else 1))
            last = width
    mobilenet = dict(type="mobilenet_v2", stem=8, blocks=blocks, head=None, padding="same", padded_stem=True,
                     dilation_start="next_unit", batch_norm_eps=1e-3)
    return {
        "xception": network(xception, 16, True, "entry_flow.block2.sepconv2", "separable", "first"),
        "resnet": network(resnet, 8, False, "block1", "dense", "last", dict(tap="block3", widths=[10])),
        # Of two pooled images a norm leaves the signs of their difference, and of its gradient what epsilon spares: with
        # little of it, float32 has few digits of that.
        "mobilenet_v2": network(mobilenet, 16, True, "block3.depthwise", "separable", "first", head_eps=1e-3),
    }


def record(name, gradient):
    g = gradient.flatten()
    if len(g) <= MOST_WHOLE:
        return g
    projections = [torch.from_numpy(centred(f"{name}:projection{i}", len(g)).astype(np.float64)) @ g for i in range(PROJECTIONS)]
    return torch.stack([g.norm()] + projections)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder", type=pathlib.Path)
    folder = ap.parse_args().folder / "gradients"
    torch.set_num_threads(1)
    shape = (BATCH, 3, HEIGHT, WIDTH)
    drawn = centred("labels", BATCH * HEIGHT * WIDTH).astype(np.float64)
    labels = torch.from_numpy(np.floor((drawn * 5 + 0.5) * (CLASSES + 1)).clip(0, CLASSES).astype(np.int64))
    labels = torch.where(labels == CLASSES, 255, labels).reshape(BATCH, HEIGHT, WIDTH)
    for name, config in networks().items():
        image = centred(PIXELS[name], math.prod(shape)) * np.float32(10)
        pixels = torch.from_numpy(image.astype(np.float64)).reshape(shape)
        net = Net(config).train()
        net(pixels)  # makes the modules
        floats = {key: value for key, value in net.state_dict().items() if value.is_floating_point()}
        net.load_state_dict({key: weights(key, tuple(value.shape)) for key, value in floats.items()}, strict=False)
        MARGIN[:] = [math.inf]
        loss = 0
        for factor, logits in zip((1, 0.4), net(pixels)):
            full = net.resize(logits, (HEIGHT, WIDTH))
            loss = loss + factor * F.cross_entropy(full, labels, ignore_index=255)
        loss.backward()
        gradients = dict(sorted((key, value.grad) for key, value in net.named_parameters()))
        statistics = {key: value for key, value in sorted(net.state_dict().items()) if "running" in key}
        smallest = min(g.norm().item() for g in gradients.values())
        print(f"{name}: loss {loss.item():.6f}, {len(gradients)} gradients, least norm {smallest:.1e}, margin {MARGIN[0]:.1e}")
        golden = {
            "loss": loss.detach().reshape(1),
            "gradients": torch.cat([record(key, g) for key, g in gradients.items()]).float(),
            "statistics": torch.cat([value.flatten() for value in statistics.values()]).float(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_file(golden, folder / f"{name}.safetensors", metadata={"torch": torch.__version__})
        (folder / f"{name}.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
