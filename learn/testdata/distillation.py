"""Computes distillation.json: the losses of soft targets (Hinton et al. 2015) and of decoupled distillation (Zhao et al. 2022, equations 5 to 7) with their
gradients with respect to the student's logits, in float64, by automatic differentiation in PyTorch. Run: python distillation.py > distillation.json"""
import json

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

torch.manual_seed(7)
flat = lambda t: t.detach().numpy().ravel().tolist()
cases = []
for n, classes, temperature, weight, alpha, beta, size in [(6, 4, 4.0, 0.9, 1.0, 8.0, 3.0), (5, 10, 1.0, 0.5, 2.0, 0.5, 1.0), (3, 3, 0.5, 1.0, 1.0, 1.0, 6.0)]:
    draw = lambda: (torch.randn(n, classes, dtype=torch.float64) * size).float().double()  # numbers that float32 holds
    z, t = draw().requires_grad_(True), draw()
    labels = torch.randint(classes, (n,))
    hard = cross_entropy(z, labels)
    soft = (1 - weight) * hard + weight * temperature**2 * kl_div(log_softmax(z / temperature, 1), softmax(t / temperature, 1), reduction="batchmean")
    dkd = weight * hard
    for i, c in enumerate(labels):
        p, q = softmax(t[i] / temperature, 0), softmax(z[i] / temperature, 0)
        rest = torch.arange(classes) != c
        binary = lambda v: torch.stack([v[c], v[rest].sum()])
        among = lambda v: v[rest] / v[rest].sum()
        kl = lambda a, b: (a * (a / b).log()).sum()
        dkd = dkd + temperature**2 * (alpha * kl(binary(p), binary(q)) + beta * kl(among(p), among(q))) / n
    cases.append({"n": n, "classes": classes, "temperature": temperature, "weight": weight, "alpha": alpha, "beta": beta, "labels": labels.tolist(),
                  "student": flat(z), "teacher": flat(t), "agreement": int((z.argmax(1) == t.argmax(1)).sum()),
                  "soft": soft.item(), "soft_gradient": flat(torch.autograd.grad(soft, z, retain_graph=True)[0]),
                  "dkd": dkd.item(), "dkd_gradient": flat(torch.autograd.grad(dkd, z)[0])})
print(json.dumps(cases, indent=1))
