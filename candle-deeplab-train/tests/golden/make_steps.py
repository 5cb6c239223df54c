"""Writes optimizers.json and schedules.json: parameters after steps of torch's optimisers, and learning rates.

    python make_steps.py FOLDER

The rates of PolynomialLR, CosineAnnealingLR, StepLR and MultiStepLR are torch's. Those named `tensorflow` are by the
formulas of tensorflow/models, research/deeplab/utils/train_utils.py, get_model_learning_rate, and of
tf.train.polynomial_decay and exponential_decay (tensorflow/python/keras/optimizer_v2/learning_rate_schedule.py), and
those named `mmengine` by mmengine 0.10.7's PolyLR (mmengine/optim/scheduler/param_scheduler.py). Made with PyTorch 2.15.
"""

import json
import sys
from pathlib import Path

import torch
from torch.optim import lr_scheduler

SIZES = [5, 3]
RATES = [0.1, 0.05, 0.02, 0.1]


def optimizers():
    torch.manual_seed(3)
    start = [torch.randn(size) for size in SIZES]
    gradients = [[torch.randn(size) for size in SIZES] for _ in RATES]
    gradients[2][1] = None  # a step in which the second parameter has no gradient
    # The second parameter has ten times the rate, and does not decay.
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, momentum=0.9),
        "plain": lambda p: torch.optim.SGD(p, momentum=0.0),
        "nesterov": lambda p: torch.optim.SGD(p, momentum=0.9, nesterov=True),
        "adamw": lambda p: torch.optim.AdamW(p, betas=(0.8, 0.95), eps=1e-6),
        "clipped": lambda p: torch.optim.SGD(p, momentum=0.9),
    }
    golden = {
        "start": [values.tolist() for values in start],
        "rates": RATES,
        "weight_decay": 0.01,
        "clip_norm": 1.5,
        "gradients": [[None if g is None else g.tolist() for g in step] for step in gradients],
        "after": {},
        "norms": [],
    }
    for name, make in kinds.items():
        parameters = [torch.nn.Parameter(values.clone()) for values in start]
        groups = [
            {"params": parameters[:1], "lr": 1.0, "weight_decay": 0.01},
            {"params": parameters[1:], "lr": 1.0, "weight_decay": 0.0},
        ]
        optimizer = make(groups)
        golden["after"][name] = []
        for rate, step in zip(RATES, gradients):
            for group, multiple in zip(optimizer.param_groups, (1.0, 10.0)):
                group["lr"] = rate * multiple
            for parameter, gradient in zip(parameters, step):
                parameter.grad = None if gradient is None else gradient.clone()
            if name == "clipped":
                golden["norms"].append(torch.nn.utils.clip_grad_norm_(parameters, 1.5).item())
            optimizer.step()
            golden["after"][name].append([parameter.tolist() for parameter in parameters])
    return golden


def torch_rates(scheduler, base, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = scheduler(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def tensorflow_rate(step, policy, base, steps, slow_start, slow_rate, burn_in, power=0.9, end=0.0):
    adjusted, decay_steps = max(step - slow_start, 0), steps - slow_start
    if policy == "poly":
        rate = (base - end) * (1 - min(adjusted, decay_steps) / decay_steps) ** power + end
    else:
        rate = base * 0.1 ** (adjusted // 4)
    if step < slow_start:
        rate = slow_rate
        if burn_in == "linear":
            rate = slow_rate + (base - slow_rate) * step / slow_start
    return rate


def poly_lr(base, eta_min, power, total):
    """mmengine computes each rate from the one before."""
    rates = [base]
    for step in range(1, total + 1):
        rates.append((rates[-1] - eta_min) * (1 - 1 / (total - step + 1)) ** power + eta_min)
    return rates


def schedules():
    poly = {"kind": "poly", "power": 0.9, "end_rate": 0.0}
    tf = lambda *arguments: [tensorflow_rate(step, *arguments) for step in range(13)]
    entries = {
        "PolynomialLR": (
            {"steps": 12, "base_rate": 0.007, "decay": poly},
            torch_rates(lambda o: lr_scheduler.PolynomialLR(o, 12, 0.9), 0.007, 13),
        ),
        "CosineAnnealingLR": (
            {"steps": 12, "base_rate": 0.1, "decay": {"kind": "cosine", "end_rate": 0.001}},
            torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 12, 0.001), 0.1, 13),
        ),
        "StepLR": (
            {"steps": 12, "base_rate": 0.1, "decay": {"kind": "step", "every": 5, "factor": 0.1}},
            torch_rates(lambda o: lr_scheduler.StepLR(o, 5, 0.1), 0.1, 13),
        ),
        "MultiStepLR": (
            {"steps": 12, "base_rate": 0.1, "decay": {"kind": "milestones", "at": [3, 9], "factor": 0.5}},
            torch_rates(lambda o: lr_scheduler.MultiStepLR(o, [3, 9], 0.5), 0.1, 13),
        ),
        "mmengine": (
            {"steps": 12, "base_rate": 0.01, "decay": {"kind": "poly", "power": 0.9, "end_rate": 1e-4}},
            poly_lr(0.01, 1e-4, 0.9, 12),
        ),
        "tensorflow": (
            {
                "steps": 12,
                "base_rate": 0.007,
                "decay": poly,
                "warm_up": {"steps": 3, "ratio": 1e-4 / 0.007, "shape": "constant"},
            },
            tf("poly", 0.007, 12, 3, 1e-4, "none"),
        ),
        "tensorflow_linear": (
            {
                "steps": 12,
                "base_rate": 0.1,
                "decay": {"kind": "poly", "power": 0.9, "end_rate": 0.002},
                "warm_up": {"steps": 4, "ratio": 0.05, "shape": "linear"},
            },
            tf("poly", 0.1, 12, 4, 0.005, "linear", 0.9, 0.002),
        ),
        "tensorflow_step": (
            {
                "steps": 12,
                "base_rate": 0.1,
                "decay": {"kind": "step", "every": 4, "factor": 0.1},
                "warm_up": {"steps": 2, "ratio": 0.05, "shape": "linear"},
            },
            tf("step", 0.1, 12, 2, 0.005, "linear"),
        ),
    }
    return [{"name": name, "schedule": schedule, "rates": rates} for name, (schedule, rates) in entries.items()]


def main():
    for name, golden in (("optimizers", optimizers()), ("schedules", schedules())):
        Path(sys.argv[1], f"{name}.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
