"""What a data scientist would reach for first, beside Foreshift's model of ramps: LightGBM on raw values and on relative
features, and a plain GRU (written out in NumPy: no package of gigabytes for one row of a table)."""
from __future__ import annotations

import lightgbm
import numpy as np
import pandas as pd
from scipy.signal import lfilter

KEYS = ("run", "node", "minute")
# Minutes: the means of the relative features, the last one being the baseline.
MEANS = (5.0, 60.0, 240.0)


def metrics(table: pd.DataFrame) -> list[str]:
    return [name for name in table if name not in KEYS]


def raw(table: pd.DataFrame) -> np.ndarray:
    return table[metrics(table)].to_numpy(np.float32)


def relative(table: pd.DataFrame) -> np.ndarray:
    """Every metric's difference from the peers' median, against its own past in its own noise; of a row the largest, second,
    fourth and mean over its metrics, and its rank in them among the nodes. The same for any metrics."""
    x = np.nan_to_num(raw(table))
    minutes = list(table.groupby(["run", "minute"], sort=False).indices.values())
    for rows in minutes:
        x[rows] -= np.median(x[rows], axis=0)
    z = np.zeros((3, *x.shape), np.float32)
    clock = table["minute"].to_numpy()
    for rows in table.groupby(["run", "node"], sort=False).indices.values():
        rows = rows[np.argsort(clock[rows], kind="stable")]
        short, middle, long = (mean(x[rows].astype(np.float64), minutes_) for minutes_ in MEANS)
        noise = np.sqrt(np.maximum(mean((x[rows] - long) ** 2, MEANS[2]), 1e-12))
        for part, change in zip(z, (short - long, short - middle, middle - long)):
            part[rows] = np.clip(change / noise, -30, 30)
    columns = []
    for part in z:
        largest = -np.sort(-np.abs(part), axis=1)
        columns += [largest[:, 0], largest[:, min(1, x.shape[1] - 1)], largest[:, min(3, x.shape[1] - 1)], largest.mean(axis=1)]
    together = np.stack(columns, axis=1)
    ranks = np.empty_like(together)
    for rows in minutes:
        ranks[rows] = np.argsort(np.argsort(-together[rows], axis=0), axis=0)
    return np.hstack([together, ranks])


def mean(x: np.ndarray, minutes: float) -> np.ndarray:
    """Exponential, over rows."""
    share = 1 - np.exp(-1 / minutes)
    return lfilter([share], [1, share - 1], x, axis=0, zi=(1 - share) * x[:1])[0]


class Boosted:
    """LightGBM as one would first try it, with the root of the classes' ratio as weight."""

    def __init__(self, x: np.ndarray, y: np.ndarray, seed: int = 1):
        x, y = x[y >= 0], y[y >= 0]
        self.weight = (max((y == 0).sum(), 1) / max((y == 1).sum(), 1)) ** 0.5
        parameters = dict(
            objective="binary", learning_rate=0.05, num_leaves=15, min_data_in_leaf=50, feature_fraction=0.5,
            bagging_fraction=0.7, bagging_freq=1, lambda_l2=10.0, scale_pos_weight=self.weight, num_threads=1, verbose=-1,
            seed=seed, deterministic=True)
        self.model = lightgbm.train(parameters, lightgbm.Dataset(x, y), 200)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The class weight out again, so that Brier and ECE are judged fairly."""
        p = self.model.predict(x)
        odds = p / (1 - p).clip(1e-9) / self.weight
        return odds / (1 + odds)


class Gru:
    """One layer over the last half hour of standardised raw values; Adam."""
    WINDOW, WIDTH, EPOCHS, BATCH, RATE = 30, 32, 3, 256, 2e-3

    def __init__(self, table: pd.DataFrame, y: np.ndarray, seed: int = 1):
        x = table[metrics(table)]
        self.mean, self.spread = x.mean(), x.std().replace(0, 1).fillna(1)
        rng = np.random.default_rng(seed)
        h, d = self.WIDTH, x.shape[1]
        shapes = ((d, 3 * h), (h, 3 * h), (3 * h,), (h,))
        self.weights = [rng.uniform(-1, 1, shape) / np.sqrt(h) for shape in shapes] + [np.zeros(1)]
        rows, first, order = self.windows(table)
        y = y[order]
        positive, calm = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
        drawn = min(len(calm), 20 * len(positive))
        self.ratio = drawn / len(calm)
        moments = [[np.zeros_like(w), np.zeros_like(w)] for w in self.weights]
        step = 0
        for _ in range(self.EPOCHS):
            lesson = rng.permutation(np.r_[positive, rng.choice(calm, drawn, replace=False)])
            for at in np.array_split(lesson, max(1, len(lesson) // self.BATCH)):
                step += 1
                for w, m, g in zip(self.weights, moments, self.gradients(self.batch(rows, first, at), y[at])):
                    m[0] += 0.1 * (g - m[0])
                    m[1] += 0.001 * (g * g - m[1])
                    w -= self.RATE * (m[0] / (1 - 0.9 ** step)) / (np.sqrt(m[1] / (1 - 0.999 ** step)) + 1e-8)

    def windows(self, table: pd.DataFrame):
        """The standardised rows in order, and the first row of each one's node."""
        order = np.lexsort((table["minute"], table["node"], table["run"]))
        x = ((table[metrics(table)] - self.mean) / self.spread).clip(-10, 10).fillna(0).to_numpy(np.float64)[order]
        names = (table["run"].astype(str) + "/" + table["node"].astype(str)).to_numpy()[order]
        starts = np.r_[0, np.flatnonzero(names[1:] != names[:-1]) + 1]
        return x, np.repeat(starts, np.diff(np.r_[starts, len(names)])), order

    def batch(self, x, first, rows):
        """Of minutes × rows × metrics."""
        return x[np.maximum(rows[None] - np.arange(self.WINDOW - 1, -1, -1)[:, None], first[rows][None])]

    def forward(self, x):
        """The score, and what going back needs of every minute."""
        kernel, loop, bias, head, offset = self.weights
        n, kept = self.WIDTH, []
        h = np.zeros((x.shape[1], n))
        for now in x:
            a, b = now @ kernel + bias, h @ loop
            z, r = 1 / (1 + np.exp(-(a[:, :n] + b[:, :n]))), 1 / (1 + np.exp(-(a[:, n:2 * n] + b[:, n:2 * n])))
            c = np.tanh(a[:, 2 * n:] + r * b[:, 2 * n:])
            kept.append((now, h, z, r, c, b[:, 2 * n:]))
            h = (1 - z) * c + z * h
        return h @ head + offset, h, kept

    def gradients(self, x, y):
        kernel, loop, _, head, _ = self.weights
        score, last, kept = self.forward(x)
        wrong = (1 / (1 + np.exp(-score)) - y) / len(y)
        sums = [np.zeros_like(w) for w in self.weights]
        sums[3], sums[4] = last.T @ wrong, np.array([wrong.sum()])
        back = np.outer(wrong, head)
        for now, h, z, r, c, b in reversed(kept):
            of_c = back * (1 - z) * (1 - c * c)
            gates = np.hstack([back * (h - c) * z * (1 - z), of_c * b * r * (1 - r), of_c])
            looped = np.hstack([gates[:, :2 * self.WIDTH], of_c * r])
            sums[0] += now.T @ gates
            sums[1] += h.T @ looped
            sums[2] += gates.sum(axis=0)
            back = back * z + looped @ loop.T
        return sums

    def predict(self, table: pd.DataFrame) -> np.ndarray:
        rows, first, order = self.windows(table)
        p = np.empty(len(order))
        for at in np.array_split(np.arange(len(order)), max(1, len(order) // 4096)):
            odds = np.exp(self.forward(self.batch(rows, first, at))[0]) * self.ratio
            p[order[at]] = odds / (1 + odds)
        return p
