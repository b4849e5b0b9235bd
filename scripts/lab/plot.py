"""The timeline: probability, share of traffic by engine, loss; one column a mode."""
from pathlib import Path

MARKS = (("first_alarm_ms", "alarm", "tab:orange"), ("shift_started_ms", "move begins", "tab:blue"),
         ("shift_done_ms", "move done", "tab:green"), ("hard_failure_ms", "hard failure", "tab:red"))


def timeline(runs: list[dict], path: Path) -> None:
    """`runs`: each with `summary`, `probability` [(s, p)], `threshold` [(s, p)], `shares`, `loss` [(s, %)], `levels` [(s, level)]."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(3, len(runs), sharex="col", sharey="row", squeeze=False,
                                   figsize=(7.5 * len(runs), 8.5), layout="constrained")
    for column, run in zip(axes.T, runs):
        _probability(column[0], run)
        _shares(column[1], run)
        _loss(column[2], run)
        for axis in column:
            for key, label, colour in MARKS:
                if run["summary"][key] is not None:
                    axis.axvline(run["summary"][key] / 1e3, color=colour, lw=1, ls="--",
                                 label=label if axis is column[2] else None)
            axis.grid(alpha=0.3)
        column[2].legend(loc="upper left", fontsize=8)
        column[2].set_xlabel("seconds since the fault began")
        lost = run["summary"]["packets_lost_by_failover"]
        column[0].set_title(f"{run['summary']['mode']}: {lost} of {run['summary']['packets_sent']} packets lost to the failover")
    figure.suptitle(f"fault: {runs[0]['summary']['fault']}")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _line(axis, points, **style):
    if points:
        axis.plot([p[0] for p in points], [p[1] for p in points], **style)


def _probability(axis, run) -> None:
    _line(axis, run["probability"], color="tab:purple", label="P(failure) of a1")
    _line(axis, run["threshold"], color="grey", lw=1, ls=":", label="threshold")
    _line(axis, run["levels"], color="tab:red", lw=1, alpha=0.6, drawstyle="steps-post", label="fault's level")
    axis.set_ylim(-0.02, 1.02)
    axis.set_ylabel("probability")
    axis.legend(loc="upper left", fontsize=8)


def _shares(axis, run) -> None:
    times = [s["t_s"] for s in run["shares"]]
    axis.stackplot(times, [s["a1"] for s in run["shares"]], [s["a2"] for s in run["shares"]],
                   labels=["a1", "a2"], colors=["#8fb8de", "#9bd3a0"])
    axis.set_ylim(0, 100)
    axis.set_ylabel("share of traffic (%)")
    axis.legend(loc="lower left", fontsize=8)


def _loss(axis, run) -> None:
    _line(axis, run["loss"], color="tab:red", lw=1.2, label="UDP loss")
    axis.set_ylim(0, 105)
    axis.set_ylabel("loss (%)")
