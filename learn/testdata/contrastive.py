"""Computes contrastive.json: the losses of SimCLR (Chen et al. 2020, equation 1), SimSiam (Chen and He 2021, algorithm 1) and BYOL (Grill et al. 2020, equation 2)
with their gradients in float64, by automatic differentiation in PyTorch, and for SimCLR the value in NumPy straight from the equation. Rows i and i+n/2 are two
views of one image. Run: python contrastive.py > contrastive.json"""
import json

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

torch.manual_seed(5)
draw = lambda n, d: torch.randn(n, d, dtype=torch.float64).float().double().requires_grad_(True)  # numbers that float32 holds
flat = lambda t: t.detach().numpy().ravel().tolist()
cases = []
for n, d, temperature in [(8, 4, 0.5), (12, 5, 0.1), (4, 3, 1.0)]:
    z, p = draw(n, d), draw(n, d)
    u = z / z.norm(dim=1, keepdim=True)
    s = (u @ u.T / temperature).masked_fill(torch.eye(n, dtype=torch.bool), float("-inf"))
    loss = cross_entropy(s, torch.arange(n).roll(n // 2))
    (gradient,) = torch.autograd.grad(loss, z)
    a = z.detach().numpy()
    total = 0.0
    for i in range(n):
        sim = lambda j: a[i] @ a[j] / np.linalg.norm(a[i]) / np.linalg.norm(a[j]) / temperature
        total -= np.log(np.exp(sim((i + n // 2) % n)) / sum(np.exp(sim(k)) for k in range(n) if k != i)) / n
    assert abs(total - loss.item()) < 1e-12
    other = z.detach().roll(n // 2, 0)
    h = n // 2
    siam = -(cosine_similarity(p[:h], z[h:].detach()).mean() + cosine_similarity(p[h:], z[:h].detach()).mean()) / 2
    byol = ((normalize(p) - normalize(other)) ** 2).sum(1).mean()
    cases.append({"n": n, "d": d, "temperature": temperature, "z": flat(z), "p": flat(p), "loss": loss.item(), "gradient": flat(gradient),
                  "simsiam": siam.item(), "simsiam_gradient": flat(torch.autograd.grad(siam, p)[0]),
                  "byol": byol.item(), "byol_gradient": flat(torch.autograd.grad(byol, p)[0])})
print(json.dumps(cases, indent=1))
