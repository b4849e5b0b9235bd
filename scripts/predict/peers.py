"""What a data scientist would reach for, fitted to the very features and split of our model: a score of every step.

Input is what the example `export-features` writes. Output is `run,at_ms`, then a column for each model: for the runs that train, what was
said when they were left out (folds of whole runs), for the others what the model fitted to all training runs says.
`foreshift predict eval --beside` judges them.
"""
import argparse
import csv
import sys
from pathlib import Path

import lightgbm
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5


def logistic(x, y):
    """Logistic regression on standardised features."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(x, y)
    return lambda x: model.predict_proba(x)[:, 1]


def boosted(x, y):
    """LightGBM as it comes, but for one thread and a seed."""
    model = lightgbm.LGBMClassifier(n_jobs=1, random_state=1, verbose=-1).fit(x, y)
    return lambda x: model.predict_proba(x)[:, 1]


def scores(fit, x, train, label, runs):
    """Of every step; label -1 teaches nothing."""
    taught = train & (label >= 0)
    said = fit(x[taught], label[taught])(x)
    places = np.flatnonzero(train)
    for inside, outside in GroupKFold(FOLDS).split(x[places], groups=runs[places]):
        teaching = places[inside][label[places[inside]] >= 0]
        said[places[outside]] = fit(x[teaching], label[teaching])(x[places[outside]])
    return said


def main() -> int:
    parser = argparse.ArgumentParser(prog="predict.peers", description=__doc__)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--nameless", type=int, required=True, help="the first pooled feature")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with open(args.rows) as file:
        rows = list(csv.DictReader(file))
    x = np.fromfile(args.features, "<f4").reshape(len(rows), -1)
    runs = np.array([row["run"] for row in rows])
    train = np.array([row["trains"] == "1" for row in rows])
    label = np.array([int(row["label"]) for row in rows])
    models = {"logistic regression": (logistic, x), "logistic regression on pooled features": (logistic, x[:, args.nameless:]),
              "LightGBM": (boosted, x), "LightGBM on pooled features": (boosted, x[:, args.nameless:])}
    said = {name: scores(fit, features, train, label, runs) for name, (fit, features) in models.items()}
    with open(args.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "at_ms", *said])
        for place, row in enumerate(rows):
            writer.writerow([row["run"], row["at_ms"], *(f"{column[place]:.6f}" for column in said.values())])
    return 0


if __name__ == "__main__":
    sys.exit(main())
