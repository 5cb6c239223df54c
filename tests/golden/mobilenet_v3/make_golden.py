#!/usr/bin/env python3
"""Write what torchvision says of its DeepLabv3 with MobileNetV3-Large: FOLDER/golden.safetensors and FOLDER/geometry.json.

The weights are the hash weights of tests/support/hash.rs (gains below). The geometry is kept as
tests/golden/families/torchvision_v3_mobilenet_v3_large.json. Needs torch, torchvision, numpy and safetensors.

With --checkpoint FILE it writes the state dict as well, and with --size H W the golden is of another input.
"""
import argparse, collections, json, math, pathlib

import numpy as np
import torch, torchvision
from safetensors.torch import save_file

M64 = (1 << 64) - 1
GAIN_CONV, GAIN_DEPTHWISE = 2.0, 2.0


def hashes(name, n):
    seed = 0xCBF29CE484222325
    for b in name.encode():
        seed = ((seed ^ b) * 0x100000001B3) & M64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def tensor(name, shape):
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    u = (hashes(name, math.prod(shape)) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    if len(shape) == 4:
        gain = GAIN_DEPTHWISE if shape[1] == 1 and shape[0] > 1 else GAIN_CONV
        v = (np.float32(2) * u - np.float32(1)) * np.float32(math.sqrt(3 * gain / math.prod(shape[1:])))
    elif name.rsplit(".", 1)[-1] in ("weight", "running_var"):
        v = np.float32(0.8) + np.float32(0.4) * u
    else:
        v = (np.float32(2) * u - np.float32(1)) * np.float32(0.1)
    return torch.from_numpy(v.reshape(shape))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder", type=pathlib.Path)
    ap.add_argument("--size", type=int, nargs=2, default=(65, 97), metavar=("H", "W"))
    ap.add_argument("--checkpoint")
    a = ap.parse_args()
    net = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, aux_loss=True)
    state = collections.OrderedDict((name, tensor(name, tuple(v.shape))) for name, v in net.state_dict().items())
    net.load_state_dict(state)
    net.eval()
    if a.checkpoint:
        torch.save(state, a.checkpoint)

    height, width = a.size
    image = (hashes("image", height * width * 3) >> np.uint64(56)).astype(np.uint8).reshape(height, width, 3)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    pixels = torch.from_numpy(((image.astype(np.float32) / np.float32(255)) - mean) / std)
    x = pixels.permute(2, 0, 1)[None].contiguous()
    with torch.no_grad():
        features = net.backbone(x)
        logits, auxiliary = net.classifier(features["out"]), net.aux_classifier(features["aux"])
    classes = logits.argmax(1).unique().numel()
    print(f"logits {tuple(logits.shape)}, std {logits.std():.3f}, {classes} classes; auxiliary std {auxiliary.std():.3f}")
    golden = {"input": x, "logits": logits.contiguous(), "auxiliary": auxiliary.contiguous()}
    by = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    save_file(golden, a.folder / "golden.safetensors", metadata=by)

    convolutions = {
        name: [m.stride[0], m.padding[0], m.dilation[0]] for name, m in net.named_modules() if isinstance(m, torch.nn.Conv2d)
    }
    tensors = {name: list(v.shape) for name, v in state.items() if v.is_floating_point()}
    rows = lambda table: ",\n".join(f'    "{name}": {json.dumps(numbers)}' for name, numbers in table.items())
    (a.folder / "geometry.json").write_text(
        '{\n  "family": "torchvision",\n  "options": {"keep_auxiliary": true},\n'
        f'  "tensors": {{\n{rows(tensors)}\n  }},\n  "convolutions": {{\n{rows(convolutions)}\n  }}\n}}\n'
    )


if __name__ == "__main__":
    main()
