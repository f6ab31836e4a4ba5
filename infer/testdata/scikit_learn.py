"""Writes scikit_learn.json: random answers and what scikit-learn and SciPy say of them. Run: python scikit_learn.py"""
import json, warnings
import numpy as np
import scipy, scipy.optimize, scipy.stats, sklearn
from sklearn import metrics as m

warnings.simplefilter("ignore")
r = np.random.default_rng(7)


def floats(a):
    return [float(x) for x in np.asarray(a).ravel()]


def averages(y, p, labels, kinds=("macro", "weighted")):
    return {k: dict(zip(("precision", "recall", "f1"), map(float, m.precision_recall_fscore_support(y, p, labels=labels, average=k, zero_division=0)[:3])))
            for k in kinds}


def single(n=80, classes=5):
    y = r.choice(classes, n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    z = np.round(r.normal(size=(n, classes)) * 2 + 1.5 * np.eye(classes)[y], 1).astype(np.float32)  # rounded, so that there are ties
    z2 = np.round(z + r.normal(size=z.shape), 2).astype(np.float32)
    p = scipy.special.softmax(z.astype(np.float64), axis=1)
    a, b = z.argmax(1), z2.argmax(1)
    curves = []
    for c in range(classes):
        fpr, tpr, _ = m.roc_curve(y == c, p[:, c], drop_intermediate=False)
        precision, recall, _ = m.precision_recall_curve(y == c, p[:, c])
        curves.append(dict(fpr=floats(fpr), tpr=floats(tpr), precision=floats(precision[:-1][::-1]), recall=floats(recall[:-1][::-1])))
    confidence, right = p.max(1), a == y
    ece = sum(abs(right[k].mean() - confidence[k].mean()) * k.mean() for low in np.arange(15)
              for k in [np.ceil(confidence * 15).clip(1, 15) == low + 1] if k.any())
    t = scipy.optimize.minimize_scalar(lambda t: m.log_loss(y, scipy.special.softmax(z / t, axis=1), labels=range(classes)), bounds=(0.05, 50), method="bounded",
                                       options=dict(xatol=1e-10)).x
    gained, lost = int(((a == y) & (b != y)).sum()), int(((a != y) & (b == y)).sum())
    chi2 = max(0, abs(gained - lost) - 1) ** 2 / (gained + lost)
    return dict(logits=floats(z), other=floats(z2), labels=[int(v) for v in y], classes=classes, accuracy=m.accuracy_score(y, a), top3=m.top_k_accuracy_score(y, p - 1e-9 * np.arange(classes), k=3),  # of equal ones the first
               
                loss=m.log_loss(y, p), balanced=m.balanced_accuracy_score(y, a), **averages(y, a, range(classes)),
                auroc=m.roc_auc_score(y, p, multi_class="ovr"), average_precision=float(np.mean([m.average_precision_score(y == c, p[:, c]) for c in range(classes)])),
                curves=curves, ece=float(ece), temperature=float(t), kappa=m.cohen_kappa_score(a, b), agreement=float((a == b).mean()), gained=gained, lost=lost,
                exact=float(scipy.stats.binomtest(gained, gained + lost).pvalue), chi2=float(chi2), chi_p=float(scipy.stats.chi2.sf(chi2, 1)))


def multi(n=60, classes=4):
    y = r.random((n, classes)) < [0.5, 0.3, 0.2, 0.05]
    z = np.round(r.normal(size=(n, classes)) * 1.5 + 2 * y - 1, 1).astype(np.float32)
    p = scipy.special.expit(z.astype(np.float64))
    a = p > 0.5
    return dict(logits=floats(z), members=[bool(v) for v in y.ravel()], classes=classes, exact=m.accuracy_score(y, a), hamming=m.hamming_loss(y, a),
                loss=float(np.mean([m.log_loss(y[:, c], p[:, c], labels=[0, 1]) for c in range(classes)])), **averages(y, a, range(classes), ("macro", "weighted", "micro")),
                auroc=m.roc_auc_score(y, z), average_precision=m.average_precision_score(y, z))


out = dict(versions=dict(sklearn=sklearn.__version__, scipy=scipy.__version__, numpy=np.__version__), single=single(), multi=multi())
json.dump(out, open(__file__.replace(".py", ".json"), "w"), indent=None, separators=(",", ":"))
