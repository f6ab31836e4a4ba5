"""Computes features.json: the losses of hints (Romero et al. 2015) and of attention transfer (Zagoruyko and Komodakis 2017, with the maps of the authors' own program:
normalize(mean over channels of x²), and the mean squared difference) beside the cross entropy of the labels, with their gradients with respect to the student's logits and
features, in float64, by automatic differentiation in PyTorch. Run: python features.py > features.json"""
import json

import torch
from torch.nn.functional import cross_entropy, mse_loss, normalize

torch.manual_seed(11)
flat = lambda t: t.detach().numpy().ravel().tolist()
cases = []
for n, classes, factor, pairs in [(4, 3, 100.0, [(5, 2, 3)]), (3, 5, 7.5, [(2, 4, 4), (6, 2, 2)])]:
    draw = lambda *d: torch.randn(*d, dtype=torch.float64).float().double()  # numbers that float32 holds
    z = draw(n, classes).requires_grad_(True)
    labels = torch.randint(classes, (n,))
    xs = [draw(n, *d).requires_grad_(True) for d in pairs]
    hints = [draw(n, *d) for d in pairs]
    maps = [draw(n, *d[1:]).abs() for d in pairs]
    attention = lambda e: normalize(e.reshape(n, -1))
    hard = cross_entropy(z, labels)
    hint = hard + factor * sum(mse_loss(x, t) for x, t in zip(xs, hints)) / len(pairs)
    transfer = hard + factor * sum((attention((x * x).mean(1)) - attention(m)).pow(2).mean() for x, m in zip(xs, maps)) / len(pairs)
    grads = lambda loss: [flat(g) for g in torch.autograd.grad(loss, [z] + xs, retain_graph=True)]
    cases.append({"n": n, "classes": classes, "factor": factor, "labels": labels.tolist(), "student": flat(z), "pairs": [list(d) for d in pairs],
                  "features": [flat(x) for x in xs], "hints": [flat(t) for t in hints], "maps": [flat(m) for m in maps],
                  "hint": hint.item(), "hint_gradients": grads(hint), "attention": transfer.item(), "attention_gradients": grads(transfer)})
print(json.dumps(cases, indent=1))
