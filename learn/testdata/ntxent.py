"""Computes ntxent.json: NT-Xent (Chen et al. 2020, equation 1) and its gradient in float64, by automatic differentiation in PyTorch and, for the value, in NumPy
straight from the equation. Run: python ntxent.py > ntxent.json"""
import json

import numpy as np
import torch

torch.manual_seed(5)
cases = []
for n, d, temperature in [(8, 4, 0.5), (12, 5, 0.1), (4, 3, 1.0)]:
    z = torch.randn(n, d, dtype=torch.float64).float().double()  # numbers that float32 holds
    z.requires_grad_(True)
    u = z / z.norm(dim=1, keepdim=True)
    s = (u @ u.T / temperature).masked_fill(torch.eye(n, dtype=torch.bool), float("-inf"))
    partner = torch.arange(n).roll(n // 2)
    loss = torch.nn.functional.cross_entropy(s, partner)
    loss.backward()
    a = z.detach().numpy()
    total = 0.0
    for i in range(n):
        sim = lambda j: a[i] @ a[j] / np.linalg.norm(a[i]) / np.linalg.norm(a[j]) / temperature
        total -= np.log(np.exp(sim((i + n // 2) % n)) / sum(np.exp(sim(k)) for k in range(n) if k != i)) / n
    assert abs(total - loss.item()) < 1e-12
    cases.append({"n": n, "d": d, "temperature": temperature, "z": a.ravel().tolist(), "loss": loss.item(), "gradient": z.grad.numpy().ravel().tolist()})
print(json.dumps(cases, indent=1))
