"""Small networks of torchvision and timm with random weights, exported by PyTorch's two exporters. See README.md.

Usage: export.py FOLDER. Writes one .onnx file for each network, exporter and operator set.
"""
import sys
import warnings
from functools import partial

import onnx
import timm.models.convnext
import timm.models.swin_transformer
import timm.models.vision_transformer
import torch
import torch.nn as nn
import torchvision.models as tv
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.resnet import BasicBlock, Bottleneck

CLASSES = 4
warnings.filterwarnings("ignore")


def resnet(pool=False):
    down = nn.Sequential(nn.Conv2d(8, 12, 1, 2, bias=False), nn.BatchNorm2d(12))
    wide = nn.Sequential(nn.Conv2d(12, 16, 1, bias=False), nn.BatchNorm2d(16))
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1, ceil_mode=pool),
        BasicBlock(8, 8), BasicBlock(8, 12, 2, down), Bottleneck(12, 4, 1, wide),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, CLASSES),
    )


def mobilenet_v2():
    m = MobileNetV2(num_classes=CLASSES, width_mult=0.25, inverted_residual_setting=[[1, 16, 1, 1], [3, 32, 2, 2]], round_nearest=4)
    m.features[-1] = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
    m.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, CLASSES))
    return m


def mobilenet_v3():
    row = partial(InvertedResidualConfig, dilation=1, width_mult=1)
    rows = [row(8, 3, 8, 8, True, "RE", 2), row(8, 3, 16, 12, False, "RE", 1), row(12, 5, 24, 12, True, "HS", 1)]
    return tv.MobileNetV3(rows, 16, num_classes=CLASSES)


def efficientnet():
    rows = [MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(3, 5, 2, 8, 12, 2)]
    return tv.EfficientNet(rows, 0.2, num_classes=CLASSES, last_channel=16)


def convnext():
    return tv.ConvNeXt([CNBlockConfig(8, 12, 1), CNBlockConfig(12, None, 2)], layer_scale=0.1, num_classes=CLASSES)


def timm_convnext():
    return timm.models.convnext.ConvNeXt(num_classes=CLASSES, depths=(1, 1, 1, 1), dims=(6, 8, 8, 12), ls_init_value=0.1)


def vit():
    return timm.models.vision_transformer.VisionTransformer(img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=CLASSES)


def torchvision_vit():
    return tv.VisionTransformer(16, 4, 1, 2, 12, 24, num_classes=CLASSES)


def swin():
    return tv.SwinTransformer([2, 2], 8, [2, 2], [1, 2], [3, 3], num_classes=CLASSES)


def timm_swin():
    return timm.models.swin_transformer.SwinTransformer(img_size=16, patch_size=2, embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=4, num_classes=CLASSES)


class Activations(nn.Module):
    """Every activation that a classifier may have, and the ways to write a normalisation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.group = nn.GroupNorm(2, 6)
        self.instance = nn.InstanceNorm2d(6, affine=True)
        self.prelu = nn.PReLU(6)
        self.steps = nn.ModuleList([nn.ELU(), nn.CELU(), nn.SELU(), nn.Softplus(), nn.Mish(), nn.SiLU(), nn.Tanh(), nn.LeakyReLU(0.1), nn.GELU("tanh"), nn.Hardswish(), nn.Hardsigmoid(), nn.ReLU6()])
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.prelu(self.instance(self.group(self.conv(x))))
        for step in self.steps:
            x = x + step(x)
        x = torch.nn.functional.adaptive_avg_pool2d(x, (2, 2)).amax(dim=(2, 3))
        return self.fc(nn.functional.normalize(x, dim=1) * 3).log_softmax(1)


NETWORKS = {
    "resnet": (resnet, 20), "resnet_ceil": (partial(resnet, True), 22), "mobilenet_v2": (mobilenet_v2, 16), "mobilenet_v3": (mobilenet_v3, 16), "efficientnet": (efficientnet, 16),
    "convnext": (convnext, 16), "timm_convnext": (timm_convnext, 32), "vit": (vit, 16), "torchvision_vit": (torchvision_vit, 16),
    "swin": (swin, 16), "timm_swin": (timm_swin, 16), "activations": (Activations, 8),
}
# exporter, operator set, whether the number of images is open
VARIANTS = {"script13": (False, 13, True), "script17": (False, 17, True), "script20": (False, 20, True), "dynamo18": (True, 18, True), "dynamo20": (True, 20, True), "fixed17": (False, 17, False), "fixed18": (True, 18, False)}
CHOSEN = {
    "resnet": ["script13", "dynamo20"], "resnet_ceil": ["script17"], "mobilenet_v2": ["script13", "dynamo20"], "mobilenet_v3": ["script17", "dynamo18"],
    "efficientnet": ["script13", "dynamo20"], "convnext": ["script13", "dynamo20"], "timm_convnext": ["script17", "dynamo18"],
    "vit": ["script17", "dynamo18", "dynamo20", "fixed17", "fixed18"], "torchvision_vit": ["script17", "dynamo20"],
    "swin": ["dynamo20"], "timm_swin": ["script17", "dynamo18"], "activations": ["script13", "dynamo20"],
}


def randomise(model):
    """Every weight has values of its own: the exporter stores equal ones once."""
    for key, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.ndim <= 1 and key.endswith("weight"):
            value.uniform_(0.5, 1.5)
        elif value.ndim <= 1 or "gamma" in key or "layer_scale" in key:
            value.normal_(0, 0.2)
        elif "attn_mask" not in key:
            value.normal_(0, 0.5 / max(1, value[0].numel()) ** 0.5 + 0.1)


def export(model, size, path, dynamo, opset, open_batch):
    images = torch.rand(2 if open_batch else 1, 3, size, size)
    names = dict(input_names=["input"], output_names=["output"], opset_version=opset, dynamo=dynamo)
    if dynamo:
        shapes = ({0: torch.export.Dim("batch")},) if open_batch else None
        torch.onnx.export(model, (images,), path, dynamic_shapes=shapes, external_data=False, verbose=False, **names)
    else:
        torch.onnx.export(model, images, path, dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}} if open_batch else None, **names)
    file = onnx.load(path)  # without the stack traces of the exporter, which name this machine's folders
    for node in file.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in list(file.graph.input) + list(file.graph.output) + list(file.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del file.graph.value_info[:], file.graph.metadata_props[:], file.metadata_props[:]
    file.graph.doc_string = file.doc_string = ""
    onnx.save(file, path)


def main():
    folder = sys.argv[1]
    for name, (build, size) in NETWORKS.items():
        for variant in CHOSEN[name]:
            torch.manual_seed(len(name))
            model = build().eval()
            with torch.no_grad():
                randomise(model)
            try:
                export(model, size, f"{folder}/{name}_{variant}.onnx", *VARIANTS[variant])
            except Exception as e:
                print(f"{name} {variant}: {type(e).__name__}: {str(e)[:300]}", file=sys.stderr)


if __name__ == "__main__":
    main()
