"""The engine benchmark's table: the predictor beside five others, on the same steps, with the same features and split.

Input is what the example `export-features` writes (features and scores of every step) and the model's card.json (who
trains, who tests). A detector's threshold is fixed before the test: ours comes with the model (`alarm_from`), the others get what
served them best (F1) on the training runs, in folds of whole runs where they were fitted to those.
"""
import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from . import plots

HORIZON_MS, STRIDE_MS, QUIET_MS = 10_000, 200, 10_000
FOLDS = 5


@dataclass
class Steps:
    """Every step of every run. Times in ms; -1: never."""
    x: np.ndarray
    columns: dict[str, np.ndarray]

    @staticmethod
    def read(features: Path, rows: Path) -> "Steps":
        with open(rows) as file:
            table = list(csv.DictReader(file))
        texts = ("run", "kind", "fault", "profile")
        columns = {name: np.array([row[name] for row in table], str if name in texts else float)
                   for name in table[0]}
        return Steps(np.fromfile(features, "<f4").reshape(len(table), -1), columns)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def where(self, mask: np.ndarray) -> "Steps":
        return Steps(self.x[mask], {name: column[mask] for name, column in self.columns.items()})

    @property
    def truth(self) -> np.ndarray:
        """A failure follows within the horizon."""
        return (self["failure_ms"] > 0) & (self["at_ms"] + HORIZON_MS >= self["failure_ms"])

    @property
    def teaches(self) -> np.ndarray:
        """Nothing is to be learnt, nor judged, from the time before a fault that soon failed, nor from what has no warning."""
        return ~(self.truth & (self["at_ms"] < self["inject_ms"])) & (self["kind"] != "abrupt")


@dataclass
class Detector:
    """Scores of all test steps, a threshold fixed beforehand, and whether a score is a probability."""
    name: str
    score: np.ndarray
    threshold: float
    probability: bool


def best_threshold(score: np.ndarray, truth: np.ndarray) -> float:
    """Of the best F1."""
    order = np.argsort(-score)
    hits, positives = np.cumsum(truth[order]), truth.sum()
    f1 = 2 * hits / (np.arange(1, len(score) + 1) + positives)
    ends = np.append(np.diff(score[order]) != 0, True)
    return float(score[order][np.argmax(np.where(ends, f1, 0.0))])


def logistic(x, y):
    """Logistic regression on standardised features."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(x, y)
    return lambda x: model.predict_proba(x)[:, 1]


def boosted(x, y):
    """LightGBM as it comes, but for one thread and a seed."""
    model = lightgbm.LGBMClassifier(n_jobs=1, random_state=1, verbose=-1).fit(x, y)
    return lambda x: model.predict_proba(x)[:, 1]


def fitted(name: str, fit, train: Steps, test: Steps, columns: slice) -> Detector:
    """A model fitted to the training steps; its threshold from folds of whole runs."""
    taught = train.where(train.teaches)
    x, y = taught.x[:, columns], taught.truth
    folds = np.zeros(len(y))
    for inside, outside in GroupKFold(FOLDS).split(x, y, taught["run"]):
        folds[outside] = fit(x[inside], y[inside])(x[outside])
    return Detector(name, fit(x, y)(test.x[:, columns]), best_threshold(folds, y), True)


def simple(name: str, column: str, train: Steps, test: Steps) -> Detector:
    """A score that was not fitted to anything."""
    taught = train.where(train.teaches)
    return Detector(name, test[column], best_threshold(taught[column], taught.truth), False)


def episodes(at: np.ndarray, alarming: np.ndarray) -> list[float]:
    """Starts of alarms: one lasts until ten seconds have been quiet."""
    starts, last = [], -np.inf
    for time in at[alarming]:
        if time > last + QUIET_MS:
            starts.append(time)
        last = time
    return starts


def by_run(test: Steps, detector: Detector) -> dict:
    """Failures foreseen and how long before, and alarms without cause."""
    leads, failures, false, calm_ms, short, short_alarmed = [], 0, 0, 0.0, 0, 0
    for run in dict.fromkeys(test["run"]):
        mask = (test["run"] == run) & (test["kind"] != "abrupt")
        if not mask.any():
            continue
        at, above = test["at_ms"][mask], detector.score[mask] >= detector.threshold
        alarming = above & np.append(False, above[:-1])  # the controller waits for two steps in a row
        kind, inject, failure = (test[name][mask][0] for name in ("kind", "inject_ms", "failure_ms"))
        begin = inject if kind != "calm" else (failure if failure > 0 else np.inf)
        calm = at < begin
        calm_ms += calm.sum() * STRIDE_MS
        false += len(episodes(at[calm], alarming[calm]))
        warned = at[~calm & alarming & ((at < failure) | (failure < 0))]
        if failure > 0 and kind != "calm":
            failures += 1
            leads += [failure - warned[0]] if len(warned) else []
        elif kind == "stopped_short":
            short, short_alarmed = short + 1, short_alarmed + bool(len(warned))
    return {"failures": failures, "leads_s": [lead / 1e3 for lead in leads], "false": false,
            "calm_h": calm_ms / 3.6e6, "short": short, "short_alarmed": short_alarmed}


def calibration_error(p: np.ndarray, truth: np.ndarray) -> float:
    """Expected, over ten bins of equal width."""
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = [abs(p[bins == b].sum() - truth[bins == b].sum()) for b in range(10)]
    return float(sum(gaps) / len(p))


def figures(test: Steps, detector: Detector) -> dict:
    """One row of the table."""
    judged = test.teaches
    score, truth = detector.score[judged], test.truth[judged]
    runs = by_run(test, detector)
    row = {"detector": detector.name, "AUC-PR": average_precision_score(truth, score),
           "threshold": detector.threshold,
           "foreseen": f"{len(runs['leads_s'])} of {runs['failures']}",
           "recall": len(runs["leads_s"]) / max(1, runs["failures"]),
           "median lead s": float(np.median(runs["leads_s"])) if runs["leads_s"] else None,
           "false alarms": runs["false"], "calm h": runs["calm_h"],
           "a day": 24 * runs["false"] / runs["calm_h"] if runs["calm_h"] else None,
           "short alarmed": f"{runs['short_alarmed']} of {runs['short']}", "Brier": None, "ECE": None}
    if detector.probability:
        row |= {"Brier": float(np.mean((score - truth) ** 2)), "ECE": calibration_error(score, truth)}
    return row | {"leads_s": runs["leads_s"]}


def markdown(rows: list[dict]) -> str:
    """The rows side by side."""
    names = [name for name in rows[0] if name != "leads_s"]

    def cell(value) -> str:
        return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return "\n".join(lines + ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows])


def detectors(train: Steps, test: Steps, nameless: int, alarm_from: float) -> list[Detector]:
    """Ours first."""
    whole, pooled = slice(None), slice(nameless, None)
    return [
        Detector("ours", test["p"], alarm_from, True),
        simple("threshold", "level", train, test),
        simple("EWMA", "ewma", train, test),
        simple("linear time to exhaustion", "exhaustion", train, test),
        fitted("logistic regression", logistic, train, test, whole),
        fitted("logistic regression, pooled features", logistic, train, test, pooled),
        fitted("LightGBM", boosted, train, test, whole),
        fitted("LightGBM, pooled features", boosted, train, test, pooled),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/predict-eval", description=__doc__)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--nameless", type=int, required=True, help="the first pooled feature")
    parser.add_argument("--out", type=Path, required=True, help="folder for table.md, table.json and plots")
    args = parser.parse_args()
    steps, card = Steps.read(args.features, args.rows), json.loads(args.card.read_text())
    alarm_from, split = card["description"]["alarm_from"], card["split"]
    train = steps.where(np.isin(steps["run"], split["train"]))
    test = steps.where(np.isin(steps["run"], split["test"]))
    unseen, load = np.isin(test["fault"], split["held_out_faults"]), np.isin(test["profile"], split["held_out_profiles"])
    calm, soak = test["kind"] == "calm", test["fault"] == "soak"
    all_of_them = detectors(train, test, args.nameless, alarm_from)
    parts = {"faults never trained on, and calm": unseen | calm, "the same without the long calm run": (unseen | calm) & ~soak,
             "loads never trained on": load & ~unseen & ~soak, "later runs of what was trained on": ~load & ~unseen & ~soak}
    args.out.mkdir(parents=True, exist_ok=True)
    text, kept = [], {}
    for name, mask in parts.items():
        part = test.where(mask)
        rows = [figures(part, Detector(d.name, d.score[mask], d.threshold, d.probability)) for d in all_of_them]
        kept[name] = rows
        text.append(f"### {name[0].upper() + name[1:]}\n\n{len(set(part['run']))} runs, "
                    f"{100 * part.truth[part.teaches].mean():.1f} % of the steps precede a failure by 10 s or less\n\n"
                    + markdown(rows))
    (args.out / "table.md").write_text("\n\n".join(text) + "\n")
    (args.out / "table.json").write_text(json.dumps(kept, indent=1, default=float) + "\n")
    mask = parts["the same without the long calm run"]
    part = test.where(mask)
    plots.draw(part, [Detector(d.name, d.score[mask], d.threshold, d.probability) for d in all_of_them],
               kept["the same without the long calm run"], args.out)
    print("\n\n".join(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
