"""Writes torchvision and timm architectures with random weights as ONNX files, for TestSuite (DARKROOM_MODELS=FOLDER go test ./onnx/surgery).

    python export.py FOLDER [NAME...]        needs torch, torchvision, timm and onnx
"""
import os
import sys
import warnings

import timm
import torch
import torchvision

warnings.filterwarnings("ignore")
torch.manual_seed(0)

TORCHVISION = """resnet18 resnet50 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large shufflenet_v2_x0_5 densenet121 squeezenet1_1 efficientnet_b0
regnet_y_400mf mnasnet0_5 googlenet alexnet convnext_tiny vit_b_32 swin_t resnext50_32x4d efficientnet_v2_s""".split()
TIMM = """deit_tiny_patch16_224 vit_tiny_patch16_224 ghostnet_100 repvgg_a0 mixer_s32_224 resmlp_12_224 coat_lite_tiny poolformer_s12 mobilevit_xxs
edgenext_xx_small efficientformer_l1 xcit_nano_12_p16_224 hrnet_w18_small res2net50_26w_4s dla34 darknet53 inception_v3 xception41
maxvit_nano_rw_256 levit_128 fastvit_t8 pvt_v2_b0 mobilenetv4_conv_small tinynet_a""".split()
SIZES = {"inception_v3": 299, "maxvit_nano_rw_256": 256, "mobilevit_xxs": 256}


def build(name):
    if name in TORCHVISION:
        return torchvision.models.get_model(name, weights=None)
    return timm.create_model(name, pretrained=False)


def export(name, path, plain=False):
    model = build(name).eval()
    numbers = torch.Generator().manual_seed(1)
    for part in model.modules():  # statistics that fold to something else than an identity
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.running_mean.shape, generator=numbers) * 0.1)
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=numbers) + 0.5)
        if isinstance(part, torch.nn.Linear) and not part.weight.any():  # timm begins some classifiers with zeros, whose answers say nothing
            part.weight.data.copy_(torch.randn(part.weight.shape, generator=numbers) * 0.02)
    side = SIZES.get(name, 224)
    # plain: BatchNormalization is kept and no constant is folded
    kept = dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False) if plain else {}
    torch.onnx.export(model, (torch.randn(2, 3, side, side),), path, input_names=["image"], output_names=["logits"], opset_version=17, dynamo=False,
                      dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}}, **kept)


if __name__ == "__main__":
    folder, names = sys.argv[1], sys.argv[2:] or TORCHVISION + TIMM
    os.makedirs(folder, exist_ok=True)
    for name in names:
        export(name, os.path.join(folder, name + ".onnx"))
        if name in ("resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5"):
            export(name, os.path.join(folder, name + "-plain.onnx"), plain=True)
        print(name, flush=True)
