"""Weights and answers of torchvision's and timm's own models, for TestAgreesWithPyTorch.

Usage: reference.py FOLDER MODEL=SIZE... Writes for each model FOLDER/MODEL/weights.safetensors (the state of a model with random weights and random running
statistics), images.f32 (2 images, (N, 3, SIZE, SIZE)) and logits.f32 (2 rows of 10). All models in one process: importing PyTorch takes most of the time.
"""
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

CLASSES = 10


class BasicBlock(nn.Module):
    """The residual block of the thin networks, with the module names that torchvision's has."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ThinResNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inside = 16
        for i, width in enumerate((16, 32, 64)):
            blocks = [BasicBlock(inside if k == 0 else width, width, 2 if i > 0 and k == 0 else 1) for k in range(n)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            inside = width
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.convShortcut = None
        if inside != outside:
            self.convShortcut = nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(y)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(y))))


class WideStage(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, n, k):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        inside = 16
        for i, width in enumerate((16 * k, 32 * k, 64 * k)):
            blocks = [WideBlock(inside if j == 0 else width, width, 2 if i > 0 and j == 0 else 1) for j in range(n)]
            setattr(self, f"block{i + 1}", WideStage(blocks))
            inside = width
        self.bn1 = nn.BatchNorm2d(inside)
        self.fc = nn.Linear(inside, CLASSES)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


def build(name, size):
    if name.startswith("vit_"):
        import timm

        return timm.create_model(name + "_patch16_224", img_size=size, patch_size=16, num_classes=CLASSES)
    if name.startswith("wide_resnet"):
        return {"wide_resnet16_2": WideResNet(2, 2), "wide_resnet28_10": WideResNet(4, 10)}[name]
    thin = {"resnet8": 1, "resnet20": 3, "resnet56": 9}
    if name in thin:
        return ThinResNet(thin[name])
    import torchvision

    return getattr(torchvision.models, name)(num_classes=CLASSES)


def write(name, size, folder):
    os.makedirs(folder)
    torch.manual_seed(3)
    model = build(name, size).eval()
    for key, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith(("running_mean", "bias")) or "layer_scale" in key or "bias_table" in key:
            value.normal_(0, 0.2)
        elif "norm" in key or key.endswith("bn1.weight"):
            value.uniform_(0.5, 1.5)
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        logits = model(images)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder + "/weights.safetensors")
    images.numpy().astype(np.float32).tofile(folder + "/images.f32")
    logits.numpy().astype(np.float32).tofile(folder + "/logits.f32")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for argument in sys.argv[2:]:
        name, size = argument.split("=")
        write(name, int(size), os.path.join(sys.argv[1], name))
