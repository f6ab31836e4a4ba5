"""The peer of bench/prune: Torch-Pruning's L1 on a resnet20 whose weights come from an ONNX file of darkroom's.

    python peer.py FOLDER MODEL.onnx --keep 0.476 [--global-pruning] [--round-to 16] --epochs 3 --rate 0.05 --batch 128 --threads 2 --seed 1

FOLDER holds train.u8, train.labels.u8, test.u8 and test.labels.u8 (N, H, W, 3). Writes FOLDER/peer.onnx and prints one line of JSON. Asked with
--keep 1 it prunes and trains nothing, which tells whether the weights were imported well.
"""
import argparse
import json
import os
import time
import warnings

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch_pruning as tp

warnings.filterwarnings("ignore")
PADDING = 4


class Block(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet20(nn.Module):
    """Its parts have the names that darkroom's zoo gives them, so that the weights find their places."""

    def __init__(self, classes, mean, std):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        inside = 16
        for s, (outside, stride) in enumerate(((16, 1), (32, 2), (64, 2)), 1):
            blocks = []
            for b in range(3):
                blocks.append(Block(inside, outside, stride if b == 0 else 1))
                inside = outside
            self.add_module(f"layer{s}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def load(path):
    state = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}
    model = ResNet20(len(state["fc.bias"]), state.pop("normalise.mean"), state.pop("normalise.std"))
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [n for n in missing if not n.endswith("num_batches_tracked") and n not in ("mean", "std")]
    if wrong or unexpected:
        raise SystemExit(f"the ONNX file is not a resnet20 of darkroom's: lacks {wrong}, has {unexpected}")
    return model.eval()


def pixels(images):
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().mul_(1 / 255)


@torch.no_grad()
def accuracy(model, images, labels):
    model.eval()
    right = 0
    for first in range(0, len(images), 500):
        right += (model(pixels(images[first : first + 500])).argmax(1).numpy() == labels[first : first + 500]).sum()
    return float(right) / len(images)


def prune(whole, args, size):
    """The smallest share of the channels that leaves at most so many operations, by bisection as Torch-Pruning's examples do it."""
    example = torch.zeros(1, 3, size, size)
    original, _ = tp.utils.count_ops_and_params(whole, example)

    def at(ratio):
        import copy

        model = copy.deepcopy(whole)
        tp.pruner.MagnitudePruner(model, example, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=ratio, global_pruning=args.global_pruning,
                                  max_pruning_ratio=0.9, round_to=args.round_to, ignored_layers=[model.fc]).step()
        ops, _ = tp.utils.count_ops_and_params(model, example)
        return model, ops / original

    low, high = 0.0, 0.95
    for _ in range(12):
        middle = (low + high) / 2
        if at(middle)[1] <= args.keep:
            high = middle
        else:
            low = middle
    return (*at(high), high)


def tune(model, images, labels, args):
    """Random crops of padded images and flips; SGD with Nesterov's momentum, along half a cosine after half an epoch of warm-up."""
    n, size = len(images), images.shape[1]
    raw, targets = torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64))
    padded = F.pad(raw, (0, 0) + (PADDING,) * 4)
    steps = n // args.batch
    total, warmup = args.epochs * steps, steps / 2
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0}], lr=args.rate, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: min(1, (t + 1) / warmup) * (1 if t < warmup else 0.5 * (1 + np.cos(np.pi * (t - warmup) / (total - warmup)))))
    grid = torch.arange(size)
    model.train().to(memory_format=torch.channels_last)
    for _ in range(args.epochs):
        order = torch.randperm(n)
        for s in range(steps):
            i = order[s * args.batch : (s + 1) * args.batch]
            rows = torch.randint(0, 2 * PADDING + 1, (args.batch, 1)) + grid
            columns = torch.randint(0, 2 * PADDING + 1, (args.batch, 1)) + grid
            columns = torch.where(torch.rand(args.batch, 1) < 0.5, columns.flip(1), columns)
            x = padded[i[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).float().mul_(1 / 255)
            loss = F.cross_entropy(model(x), targets[i])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval().to(memory_format=torch.contiguous_format)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("model")
    p.add_argument("--keep", type=float, default=1)
    p.add_argument("--global-pruning", action="store_true")
    p.add_argument("--round-to", type=int, default=None)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--rate", type=float, default=0.05)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    def read(name):
        labels = np.fromfile(os.path.join(args.folder, name + ".labels.u8"), np.uint8)
        images = np.fromfile(os.path.join(args.folder, name + ".u8"), np.uint8)
        size = round((images.size / len(labels) / 3) ** 0.5)
        return images.reshape(len(labels), size, size, 3), labels

    test = read("test")
    model = load(args.model)
    out = {"version": f"Torch-Pruning {tp.__version__}, PyTorch {torch.__version__}", "whole": accuracy(model, *test)}
    if args.keep < 1:
        train = read("train")
        model, out["ops"], out["ratio"] = prune(model, args, test[0].shape[1])
        out["untuned"] = accuracy(model, *test)
        wall, cpu = time.time(), time.process_time()
        tune(model, *train, args)
        out["seconds"], out["processor_seconds"] = time.time() - wall, time.process_time() - cpu
        out["accuracy"] = accuracy(model, *test)
        torch.onnx.export(model, (torch.zeros(2, 3, test[0].shape[1], test[0].shape[1]),), os.path.join(args.folder, "peer.onnx"), input_names=["image"],
                          output_names=["logits"], opset_version=17, dynamo=False, dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}})
    print(json.dumps(out))


if __name__ == "__main__":
    main()
