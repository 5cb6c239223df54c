"""Writes losses.json: losses on interpolated logits, their gradients for the logits, and the logits and labels.

    python make_losses.py FOLDER

Cross-entropy is torch's. The other losses are written out here by the formulas of the code bases that they come from:

- top-k pixels: tensorflow/models, research/deeplab/utils/train_utils.py,
  add_softmax_cross_entropy_loss_for_each_scale
- OHEM: mmsegmentation 1.2.2, mmseg/structures/sampler/ohem_pixel_sampler.py; the mean is over the kept pixels
- focal: Lin et al. 2017, equation 5, with the softmax's probability
- Dice: segmentation_models_pytorch 0.6.0, losses/dice.py, mode "multiclass"
- Lovász-softmax: Berman et al. 2018, lovasz_losses.py, classes="present", per_image=False

Everything is computed in float64. Made with PyTorch 2.15.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

IGNORE = 255
WEIGHTS = [0.5, 1.5, 1.0, 2.0]
CLASSES = len(WEIGHTS)


def cross_entropy(weight=None, smoothing=0.0):
    weight = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    loss = torch.nn.CrossEntropyLoss(weight=weight, ignore_index=IGNORE, label_smoothing=smoothing)
    return lambda logits, labels: loss(logits, labels)


def pixel_losses(logits, labels):
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none").flatten()


def top_k(share, ramp, step):
    def loss(logits, labels):
        losses = pixel_losses(logits, labels)
        ratio = 1.0 if ramp == 0 else min(1.0, step / ramp)
        top, _ = torch.topk(losses, int((ratio * share + (1.0 - ratio)) * losses.numel()))
        return top.sum() / (top != 0).sum().clamp(min=1)

    return loss


def ohem(threshold, min_kept):
    def loss(logits, labels):
        losses = pixel_losses(logits, labels)
        valid = (labels != IGNORE).flatten()
        kept = torch.zeros_like(losses)
        if threshold is None:
            order = losses[valid].sort(descending=True).indices
            inside = kept[valid]
            inside[order[: min_kept * len(labels)]] = 1.0
        else:
            p = F.softmax(logits.detach(), dim=1).gather(1, labels.where(labels != IGNORE, 0).unsqueeze(1)).flatten()[valid]
            least = p.sort().values[min(min_kept * len(labels), p.numel() - 1)]
            inside = (p < max(least.item(), threshold)).double()
        kept[valid] = inside
        return (losses * kept).sum() / kept.sum()

    return loss


def focal(gamma, alpha):
    def loss(logits, labels):
        losses = pixel_losses(logits, labels)
        judged = (labels != IGNORE).flatten()
        factor = torch.tensor(alpha, dtype=torch.float64)[labels.where(labels != IGNORE, 0)].flatten()
        return ((1 - torch.exp(-losses)) ** gamma * losses * factor)[judged].mean()

    return loss


def dice(smooth):
    def loss(logits, labels):
        judged = (labels != IGNORE).unsqueeze(1)
        p = logits.softmax(1) * judged
        y = F.one_hot(labels.where(labels != IGNORE, 0), CLASSES).permute(0, 3, 1, 2) * judged
        shared, total = (p * y).sum((0, 2, 3)), (p + y).sum((0, 2, 3))
        score = (2 * shared + smooth) / (total + smooth).clamp_min(1e-7)
        return ((1 - score) * (y.sum((0, 2, 3)) > 0)).mean()

    return loss


def lovasz(logits, labels):
    judged = (labels != IGNORE).flatten()
    p = logits.softmax(1).permute(0, 2, 3, 1).reshape(-1, CLASSES)[judged]
    y = labels.flatten()[judged]
    losses = []
    for c in range(CLASSES):
        member = (y == c).double()
        if member.sum() == 0:
            continue
        errors, order = (member - p[:, c]).abs().sort(descending=True)
        member = member[order]
        intersection = member.sum() - member.cumsum(0)
        union = member.sum() + (1 - member).cumsum(0)
        jaccard = 1 - intersection / union
        jaccard[1:] = jaccard[1:] - jaccard[:-1].clone()
        losses.append((errors * jaccard.detach()).sum())
    return torch.stack(losses).mean()


LOSSES = {
    "cross_entropy": cross_entropy(),
    "weighted": cross_entropy(WEIGHTS),
    "weighted_and_smoothed": cross_entropy(WEIGHTS, 0.1),
    "top_k": top_k(0.3, 0, 0),
    "top_k_on_its_ramp": top_k(0.2, 40, 10),
    "ohem": ohem(0.2, 4),
    "ohem_at_least": ohem(0.01, 30),
    "ohem_by_number": ohem(None, 25),
    "focal": focal(2.0, WEIGHTS),
    "dice": dice(1.0),
    "lovasz": lovasz,
}


def main():
    torch.manual_seed(7)
    logits = (torch.randn(2, CLASSES, 3, 4) * 2).float().double()
    labels = torch.randint(0, CLASSES - 1, (2, 9, 11))  # the last class is absent
    labels[torch.rand(labels.shape) < 0.15] = IGNORE
    labels[1, 4:6] = IGNORE
    golden = {"shape": list(logits.shape), "logits": logits.flatten().tolist()}
    golden["label_shape"] = list(labels.shape)
    golden["labels"] = labels.flatten().tolist()
    golden["losses"] = []
    for align_corners in (True, False):
        for name, loss in LOSSES.items():
            x = logits.clone().requires_grad_()
            value = loss(F.interpolate(x, labels.shape[1:], mode="bilinear", align_corners=align_corners), labels)
            value.backward()
            gradient = [float(f"{g:.9g}") for g in x.grad.flatten().tolist()]
            entry = {"name": name, "align_corners": align_corners, "loss": value.item(), "gradient": gradient}
            golden["losses"].append(entry)
    Path(sys.argv[1], "losses.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
