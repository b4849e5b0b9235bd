"""The benchmark's pictures, as SVG."""
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from sklearn.metrics import precision_recall_curve  # noqa: E402


def draw(test, detectors, rows, out: Path) -> None:
    """precision.svg, reliability.svg, leads.svg, timeline.svg."""
    judged = test.teaches
    truth = test.truth[judged]
    _precision(truth, [(d.name, d.score[judged]) for d in detectors], out / "precision.svg")
    _reliability(truth, detectors[0].score[judged], out / "reliability.svg")
    _leads(rows, out / "leads.svg")
    _timeline(test, detectors[0], out / "timeline.svg")


def _save(figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _precision(truth, scores, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, score in scores:
        precision, recall, _ = precision_recall_curve(truth, score)
        axes.plot(recall, precision, label=name, lw=2.5 if name == "ours" else 1)
    axes.set(xlabel="recall (steps)", ylabel="precision", ylim=(0, 1.02), title="faults never trained on")
    axes.legend(fontsize=7)
    _save(figure, path)


def _reliability(truth, p, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(4, 4))
    bins = np.minimum((p * 10).astype(int), 9)
    shown = [b for b in range(10) if (bins == b).sum() >= 10]
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8)
    axes.plot([p[bins == b].mean() for b in shown], [truth[bins == b].mean() for b in shown], "o-")
    axes.set(xlabel="said", ylabel="was", xlim=(0, 1), ylim=(0, 1), title="reliability")
    _save(figure, path)


def _leads(rows, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 3))
    axes.hist(rows[0]["leads_s"], bins=np.arange(0, 31, 1.0))
    axes.set(xlabel="seconds from the alarm to the failure", ylabel="runs", title="lead of ours")
    _save(figure, path)


def _timeline(test, ours, path: Path) -> None:
    """The failing run with the median lead."""
    def lead(run):
        mask = (test["run"] == run) & (ours.score >= ours.threshold)
        return (test["failure_ms"][mask] - test["at_ms"][mask]).max() if mask.any() else 0.0
    failing = sorted({r for r, f, k in zip(test["run"], test["failure_ms"], test["kind"]) if f > 0 and k == "ramp"}, key=lead)
    if not failing:
        return
    mask = test["run"] == failing[len(failing) // 2]
    zero = test["inject_ms"][mask][0]
    seconds = (test["at_ms"][mask] - zero) / 1e3
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.fill_between(seconds, test["low"][mask], test["high"][mask], alpha=0.25, label="Venn–Abers bounds")
    axes.plot(seconds, ours.score[mask], label="P(failure within 10 s)")
    axes.plot(seconds, test["drift"][mask], lw=0.8, label="drift")
    axes.axhline(ours.threshold, color="grey", lw=0.8, ls="--")
    axes.axvline(0, color="orange", label="fault begins")
    axes.axvline((test["failure_ms"][mask][0] - zero) / 1e3, color="red", label="failure")
    axes.set(xlabel="s", ylim=(0, 1.02), title=failing[len(failing) // 2])
    axes.legend(fontsize=7)
    _save(figure, path)
