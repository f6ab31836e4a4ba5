"""Computes fakequantize.json: fake quantization with its gradients by PyTorch's own operators, _fake_quantize_learnable_per_tensor_affine and
..._per_channel_affine (the gradient of the scale is that of LSQ, without its factor). Run: python fakequantize.py > fakequantize.json"""
import json

import torch

torch.manual_seed(7)
cases = []
for shape, scales, axis, zero, low, high in [((2, 3, 4), [0.1], 0, 0, -127, 127), ((64,), [0.013], 0, 37, 0, 255), ((3, 2, 5), [0.02, 0.3, 0.004], 0, 0, -127, 127),
                                             ((5, 4), [0.03, 0.01, 0.2, 0.05], 1, 0, -63, 63), ((40,), [0.004], 0, 0, 0, 255)]:
    x = (torch.randn(shape) * 1.3).requires_grad_(True)
    s = torch.tensor(scales, requires_grad=True)
    if len(scales) == 1:
        y = torch._fake_quantize_learnable_per_tensor_affine(x, s, torch.tensor([float(zero)]), low, high, 1.0)
    else:
        y = torch._fake_quantize_learnable_per_channel_affine(x, s, torch.zeros(len(scales)), axis, low, high, 1.0)
    v = torch.randn(shape)
    y.backward(v)
    flat = lambda t: t.detach().ravel().tolist()
    cases.append({"shape": shape, "scales": scales, "axis": axis, "low": low - zero, "high": high - zero, "x": flat(x), "v": flat(v), "y": flat(y),
                  "x_gradient": flat(x.grad), "scale_gradient": flat(s.grad)})
print(json.dumps(cases))
