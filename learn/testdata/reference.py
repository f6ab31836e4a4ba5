"""Writes reference.json beside itself: what PyTorch says of losses, optimizers and schedules, in float64, for the tests of package learn.

Needs torch and timm. LARS and LAMB are timm's. Muon is written out below from its papers, since torch.optim.Muon works in bfloat16.
"""

import json
import math
import pathlib

import timm.optim
import torch

torch.set_default_dtype(torch.float64)


def noise(n, start, scale):
    """The numbers of the tests' function noise, which are rounded to float32."""
    return torch.tensor([(2 * math.modf((i + start) * 0.6180339887498949)[0] - 1) * scale for i in range(n)]).float().double()


def loss_case(name, logits, fn):
    z = logits.clone().requires_grad_()
    value = fn(z)
    value.backward()
    return {"name": name, "loss": value.item(), "gradient": z.grad.flatten().tolist()}


def losses():
    n, classes = 5, 4
    logits = noise(n * classes, 0.3, 3).reshape(n, classes)
    labels = torch.tensor([0, 3, 1, 1, 2])
    soft = torch.softmax(noise(n * classes, 0.9, 2).reshape(n, classes), 1).float().double()
    weights = torch.tensor([0.5, 2.0, 1.0, 1.5])
    onehot = torch.nn.functional.one_hot(labels, classes).double()
    F = torch.nn.functional

    def focal(z, t, gamma, alpha, w):
        logs = torch.log_softmax(z, 1)
        return (-alpha * w * t * (1 - logs.exp()) ** gamma * logs).sum() / n

    smooth = onehot * 0.9 + 0.1 / classes
    multi = (noise(n * classes, 0.4, 1).reshape(n, classes) > 0).double()
    out = [
        loss_case("cross entropy", logits, lambda z: F.cross_entropy(z, labels)),
        loss_case("cross entropy, smoothing", logits, lambda z: F.cross_entropy(z, labels, label_smoothing=0.1)),
        loss_case("cross entropy, weights", logits, lambda z: F.cross_entropy(z, labels, weight=weights)),
        loss_case("cross entropy, weights and smoothing", logits, lambda z: F.cross_entropy(z, labels, weight=weights, label_smoothing=0.1)),
        loss_case("cross entropy, soft", logits, lambda z: F.cross_entropy(z, soft)),
        loss_case("cross entropy, soft, weights and smoothing", logits, lambda z: F.cross_entropy(z, soft, weight=weights, label_smoothing=0.1)),
        loss_case("focal", logits, lambda z: focal(z, onehot, 2, 0.25, 1)),
        loss_case("focal, weights and smoothing", logits, lambda z: focal(z, smooth, 1.5, 1, weights)),
        loss_case("focal, γ 0.5, soft", logits, lambda z: focal(z, soft, 0.5, 1, 1)),
        loss_case("binary cross entropy", logits, lambda z: F.binary_cross_entropy_with_logits(z, onehot)),
        loss_case("binary cross entropy, several classes", logits, lambda z: F.binary_cross_entropy_with_logits(z, multi)),
        loss_case("binary cross entropy, weights and smoothing", logits, lambda z: F.binary_cross_entropy_with_logits(z, smooth, weight=weights)),
    ]
    targets = noise(n * classes, 0.8, 3).reshape(n, classes)
    out.append(loss_case("smooth l1", logits, lambda z: F.smooth_l1_loss(z, targets)))
    out.append(loss_case("smooth l1, β 2.5", logits, lambda z: F.smooth_l1_loss(z, targets, beta=2.5)))
    pixels = noise(2 * 3 * 4 * 4, 0.3, 3).reshape(2, 3, 4, 4)
    masks = (noise(2 * 3 * 4 * 4, 0.7, 1).reshape(2, 3, 4, 4) > 0.2).double()

    def dice(z):
        p = torch.sigmoid(z)
        ratio = (2 * (p * masks).sum((2, 3)) + 1) / (p.sum((2, 3)) + masks.sum((2, 3)) + 1)
        return F.binary_cross_entropy_with_logits(z, masks) + (1 - ratio).mean()

    out.append(loss_case("dice and binary cross entropy", pixels, dice))
    return {"labels": labels.tolist(), "soft": soft.flatten().tolist(), "weights": weights.tolist(), "several": multi.flatten().tolist(),
            "targets": targets.flatten().tolist(), "masks": masks.flatten().tolist(), "cases": out}


def muon_direction(m):
    x = m / max(m.norm().item(), 1e-7)
    flip = x.shape[0] > x.shape[1]
    if flip:
        x = x.T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    if flip:
        x = x.T
    return 0.2 * math.sqrt(max(m.shape)) * x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum, weight_decay):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["v"] = torch.zeros_like(p)
                mu = group["momentum"]
                state["v"] = mu * state["v"] + (1 - mu) * p.grad
                direction = muon_direction((1 - mu) * p.grad + mu * state["v"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * direction)


def optimizers():
    """Eight steps of a matrix (3, 2) and a bias (3) with given gradients; decay is on the matrix alone."""
    steps = 8

    def run(make, clip=None, ema=None):
        w = noise(6, 0.2, 1).reshape(3, 2).requires_grad_()
        b = noise(3, 0.6, 1).requires_grad_()
        optimizer = make(w, b)
        average = [w.detach().clone(), b.detach().clone()]
        path = []
        for t in range(steps):
            w.grad, b.grad = noise(6, 1.1 + t, 2).reshape(3, 2), noise(3, 5.7 + t, 2)
            if clip == "norm":
                torch.nn.utils.clip_grad_norm_([w, b], 1.5)
            if clip == "value":
                torch.nn.utils.clip_grad_value_([w, b], 0.7)
            optimizer.step()
            if ema:
                average = [ema * a + (1 - ema) * p.detach() for a, p in zip(average, (w, b))]
            path.append([x for p in (average if ema else (w, b)) for x in p.detach().flatten().tolist()])
        return path

    def groups(decay):
        return lambda w, b: [{"params": [w], "weight_decay": decay}, {"params": [b], "weight_decay": 0.0}]

    def of(cls, decay, **args):
        return lambda w, b: cls(groups(decay)(w, b), lr=0.1, **args)

    o = torch.optim

    class Both:
        def __init__(self, *list):
            self.list = list

        def step(self):
            for x in self.list:
                x.step()

    return {
        "sgd": run(of(o.SGD, 0.05)),
        "sgd momentum": run(of(o.SGD, 0.05, momentum=0.9)),
        "sgd nesterov": run(of(o.SGD, 0.05, momentum=0.9, nesterov=True)),
        "adam": run(of(o.Adam, 0.05)),
        "adamw": run(of(o.AdamW, 0.05)),
        "adamw betas": run(of(o.AdamW, 0.05, betas=(0.8, 0.95), eps=1e-6)),
        "lars": run(of(timm.optim.Lars, 0.05, momentum=0.9, trust_coeff=0.02)),
        "lars nesterov": run(of(timm.optim.Lars, 0.05, momentum=0.9, nesterov=True, trust_coeff=0.02)),
        "lamb": run(of(timm.optim.Lamb, 0.05, max_grad_norm=None)),
        "muon": run(lambda w, b: Both(Muon([w], 0.1, 0.95, 0.05), o.AdamW([b], lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0))),
        "clip norm": run(of(o.SGD, 0.0, momentum=0.9), clip="norm"),
        "clip value": run(of(o.SGD, 0.0, momentum=0.9), clip="value"),
        "ema": run(of(o.SGD, 0.0, momentum=0.9), ema=0.7),
    }


def schedules():
    """The learning rate of each of 30 steps, an epoch being 5 of them, with peak 0.4."""
    s = torch.optim.lr_scheduler

    def run(make, momentum=False):
        p = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.SGD([p], lr=0.4, momentum=0.9)
        schedule = make(optimizer)
        out = []
        for _ in range(30):
            out.append(optimizer.param_groups[0]["momentum" if momentum else "lr"])
            optimizer.step()
            schedule.step()
        return out

    def one(o, **args):
        return s.OneCycleLR(o, max_lr=0.4, total_steps=31, **args)

    return {
        "step": run(lambda o: s.StepLR(o, 10, 0.5)),
        "multi step": run(lambda o: s.MultiStepLR(o, [5, 20], 0.1)),
        "cosine": run(lambda o: s.CosineAnnealingLR(o, 30)),
        "cosine final": run(lambda o: s.CosineAnnealingLR(o, 30, eta_min=0.04)),
        "restarts": run(lambda o: s.CosineAnnealingWarmRestarts(o, 10)),
        "restarts growth": run(lambda o: s.CosineAnnealingWarmRestarts(o, 5, T_mult=2, eta_min=0.04)),
        "one cycle": run(lambda o: one(o)),
        "one cycle own": run(lambda o: one(o, pct_start=0.4, div_factor=10, final_div_factor=100)),
        "one cycle momentum": run(lambda o: one(o), momentum=True),
        "polynomial": run(lambda o: s.PolynomialLR(o, 30, power=1.0)),
        "polynomial 2": run(lambda o: s.PolynomialLR(o, 30, power=2.0)),
    }


path = pathlib.Path(__file__).with_name("reference.json")
path.write_text(json.dumps({"torch": torch.__version__.split("+")[0], "timm": timm.__version__, "losses": losses(), "optimizers": optimizers(),
                            "schedules": schedules()}, indent=1, ensure_ascii=False) + "\n")
