"""Computes probe.json: what scikit-learn and NumPy answer to the questions of package probe. Run: python probe.py > probe.json"""
import json

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(3)
classes, width, k, kelvin, decay = 3, 5, 7, 0.1, 0.01
centres = rng.normal(size=(classes, width)) * 1.2


def draw(n):
    labels = np.arange(n) % classes
    return (centres[labels] + rng.normal(size=(n, width))).astype(np.float32), labels


train, train_labels = draw(120)
test, test_labels = draw(60)
unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
similarity = unit(test.astype(np.float64)) @ unit(train.astype(np.float64)).T
told = []
for row in similarity:
    best = np.argsort(-row, kind="stable")[:k]
    votes = np.zeros(classes)
    np.add.at(votes, train_labels[best], np.exp(row[best] / kelvin))
    told.append(votes.argmax())
# scikit-learn's C multiplies the sum of the losses, our decay divides by the number of images; deviations are those of a sample, as ours.
scale = StandardScaler().fit(train.astype(np.float64))
deviation = scale.scale_ * np.sqrt(len(train) / (len(train) - 1))
standard = lambda x: (x.astype(np.float64) - scale.mean_) / deviation
linear = LogisticRegression(C=1 / (decay * len(train)), tol=1e-10, max_iter=10000).fit(standard(train), train_labels)
own = unit(train.astype(np.float64)) @ unit(train.astype(np.float64)).T
np.fill_diagonal(own, -2)
print(json.dumps({"train": train.ravel().tolist(), "test": test.ravel().tolist(), "train_labels": train_labels.tolist(), "test_labels": test_labels.tolist(),
                  "width": width, "classes": classes, "k": k, "kelvin": kelvin, "decay": decay, "knn": float((np.array(told) == test_labels).mean()),
                  "linear": float((linear.predict(standard(test)) == test_labels).mean()), "plane": PCA(2).fit_transform(test.astype(np.float64)).tolist(),
                  "first_nearest": np.argsort(-own[0], kind="stable")[:6].tolist()}))
