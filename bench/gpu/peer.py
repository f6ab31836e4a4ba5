"""Training steps of a torchvision model on synthetic images with PyTorch: the peer of bench/gpu.

As a practitioner who wants speed would on a GPU: channels_last, automatic mixed precision, torch.compile, cuDNN's search for the
fastest kernels. Prints one line of JSON: images/s of each of the timed steps' median, and the versions.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
import torchvision


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", default="resnet50")
    p.add_argument("--size", type=int, default=224)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--warmup", type=int, default=20)
    p.add_argument("--steps", type=int, default=60)
    p.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="bf16")
    p.add_argument("--device", default="cuda")
    p.add_argument("--no-compile", dest="compile", action="store_false")
    o = p.parse_args()

    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    device = torch.device(o.device)
    narrow = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[o.precision]
    model = getattr(torchvision.models, o.model)(num_classes=1000).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-5)
    scaler = torch.amp.GradScaler(o.device, enabled=o.precision == "fp16")
    forward = torch.compile(model) if o.compile else model
    x = torch.rand(o.batch, 3, o.size, o.size, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.arange(o.batch, device=device) % 1000

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(o.device, dtype=narrow or torch.bfloat16, enabled=narrow is not None):
            loss = F.cross_entropy(forward(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item()  # as a training that shows its loss does; it waits for the device

    times = []
    for i in range(o.warmup + o.steps):
        start = time.perf_counter()
        step()
        if i >= o.warmup:
            times.append(time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated() if o.device == "cuda" else 0
    print(json.dumps({"rate": o.batch / statistics.median(times), "memory": memory, "version": "PyTorch " + torch.__version__}))


if __name__ == "__main__":
    main()
