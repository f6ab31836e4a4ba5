"""One timed training of a model with PyTorch: the peer of bench/train.

Reads images.u8 (N, H, W, 3) and labels.u8 (N) of a folder, trains as a practitioner would on a CPU, and prints one
line of JSON: images/s from the end of the warm-up to the last step, and the peak of the resident memory.
"""
import argparse
import json
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

MEAN, STD, PADDING = 0.5, 0.25, 4


class BasicBlock(nn.Module):
    """Residual block with a projection where the shape changes (type B of He et al. 2016), as in our zoo."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.shortcut = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x), inplace=True)


def resnet20(classes):
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    inside = 16
    for outside, stride in ((16, 1), (32, 2), (64, 2)):
        for i in range(3):
            layers.append(BasicBlock(inside, outside, stride if i == 0 else 1))
            inside = outside
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def build(name, classes, size):
    if name == "resnet20":
        return resnet20(classes)
    if name == "vit_tiny":
        from timm.models.vision_transformer import VisionTransformer

        return VisionTransformer(img_size=size, patch_size=8, embed_dim=192, depth=12, num_heads=3, num_classes=classes)
    import torchvision

    return getattr(torchvision.models, name)(num_classes=classes)


class Images(torch.utils.data.Dataset):
    """One image at a time, as DataLoader's workers want it."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        x = F.pad(torch.from_numpy(self.images[i].copy()).permute(2, 0, 1), (PADDING,) * 4)
        size = self.images.shape[1]
        top, left = torch.randint(0, 2 * PADDING + 1, (2,)).tolist()
        x = x[:, top : top + size, left : left + size]
        if torch.rand(()) < 0.5:
            x = x.flip(-1)
        return (x.float() / 255 - MEAN) / STD, int(self.labels[i])


def from_workers(images, labels, batch, memory_format):
    loader = torch.utils.data.DataLoader(
        Images(images, labels), batch, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True
    )
    while True:
        for x, y in loader:
            yield x.contiguous(memory_format=memory_format), y


def from_tensors(images, labels, batch, memory_format):
    """Whole batches at once in this process: crops are one gather in uint8, flips one more."""
    pixels, targets = torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64))
    size = pixels.shape[1]
    padded = F.pad(pixels, (0, 0) + (PADDING,) * 4)
    grid = torch.arange(size)
    while True:
        order = torch.randperm(len(pixels))
        for first in range(0, len(pixels) - batch + 1, batch):
            i = order[first : first + batch]
            rows = torch.randint(0, 2 * PADDING + 1, (batch, 1)) + grid
            columns = torch.randint(0, 2 * PADDING + 1, (batch, 1)) + grid
            columns = torch.where(torch.rand(batch, 1) < 0.5, columns.flip(1), columns)
            x = padded[i[:, None, None], rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
            x = x.permute(0, 3, 1, 2).float().mul_(1 / 255).sub_(MEAN).div_(STD)
            yield x.contiguous(memory_format=memory_format), targets[i]


def peak():
    """Bytes of resident memory at most, of this process and its loaders' workers."""
    import glob

    total = 0
    for status in glob.glob("/proc/self/task/*/children"):
        for child in open(status).read().split():
            total += high_water(f"/proc/{child}/status")
    return total + high_water("/proc/self/status")


def high_water(path):
    for line in open(path):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--size", type=int, required=True)
    p.add_argument("--batch", type=int, required=True)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--warmup", type=int, default=4)
    p.add_argument("--variant", default="default+tensors")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    layout, source = a.variant.split("+")
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    images = np.memmap(a.data + "/images.u8", np.uint8, "r").reshape(-1, a.size, a.size, 3)
    labels = np.fromfile(a.data + "/labels.u8", np.uint8)
    model = build(a.model, 10, a.size).train().to(memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    batches = (from_workers if source == "workers" else from_tensors)(images, labels, a.batch, memory_format)
    step, start = 0, 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        value = loss.item()
        if value != value:
            raise SystemExit("the loss is not a number")
        step += 1
        if step == a.warmup:
            start = time.perf_counter()
        if step > a.warmup and time.perf_counter() - start >= a.seconds:
            break
    rate = (step - a.warmup) * a.batch / (time.perf_counter() - start)
    print(json.dumps({"rate": rate, "memory": peak(), "steps": step - a.warmup, "version": "PyTorch " + torch.__version__}))


if __name__ == "__main__":
    main()
