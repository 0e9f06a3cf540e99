"""The picture of a run's samples: the data map of Dataset Cartography, beside suspicion and the suspects' losses."""

from io import BytesIO
from threading import Lock

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aft_worker.ledger.presentations import Bools, Floats, Ints
from aft_worker.ledger.report import RunSamples

SUSPECTS = 12
"""Samples that are marked."""
NAMED = 5
"""Suspects that are named in the map; more names would cover each other."""
MOST_POINTS = 20_000
"""Samples that are drawn; of more, every so-manieth."""
TIME_BINS = 60
INK, FAINT, SUSPECT, BAND = "#1b1f24", "#8b949e", "#d1242f", "#4c78a8"

_DRAWING = Lock()
"""Matplotlib keeps fonts and settings for the whole process, and requests come on many threads."""


def picture(samples: RunSamples, ranked: Ints) -> bytes:
    """PNG of the `ranked` samples, most suspicious first."""
    with _DRAWING:
        figure = Figure(figsize=(13, 7), dpi=110, layout="constrained", facecolor="white")
        canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, width_ratios=(1.35, 1))
        suspects = _suspects(samples, ranked)
        _draw_map(figure, figure.add_subplot(grid[:, 0]), samples, ranked, suspects)
        _draw_suspicion(figure.add_subplot(grid[0, 1]), samples, ranked, suspects)
        _draw_losses(figure.add_subplot(grid[1, 1]), samples, ranked, suspects)
        figure.suptitle(_title(samples, ranked), color=INK, fontsize=13, x=0.01, ha="left")
        png = BytesIO()
        canvas.print_png(png)
        return png.getvalue()


def _title(samples: RunSamples, ranked: Ints) -> str:
    seen = samples.dynamics.times_seen[ranked]
    return (
        f"{samples.run_id}: {len(ranked):,} samples, seen {seen.mean():.1f} times on average, "
        f"up to step {samples.commit.step:,}"
    )


def _suspects(samples: RunSamples, ranked: Ints) -> Ints:
    """The samples to mark: the first of those whose figures speak for noise."""
    return ranked[samples.suspicion.score[ranked] > 0][:SUSPECTS]


def _draw_map(figure: Figure, axes: Axes, samples: RunSamples, ranked: Ints, suspects: Ints) -> None:
    measured = samples.dynamics
    shown = _thinned(ranked)
    across, label, title = _across(samples, ranked)
    colour, colour_label = _colour(samples, shown)
    points = axes.scatter(
        across[shown], measured.confidence[shown], c=colour, cmap="viridis", s=14, alpha=0.75, linewidths=0
    )
    figure.colorbar(points, ax=axes, label=colour_label, shrink=0.7, pad=0.01)
    axes.scatter(
        across[suspects],
        measured.confidence[suspects],
        s=70,
        facecolors="none",
        edgecolors=SUSPECT,
        linewidths=1.6,
        label=f"the {len(suspects)} most suspicious",
    )
    _name(axes, samples, across, suspects[:NAMED])
    _style(axes, title, label, "confidence: mean probability of a true token")
    if len(suspects):
        axes.legend(loc="upper right", frameon=False, labelcolor=INK)


def _across(samples: RunSamples, ranked: Ints) -> tuple[Floats, str, str]:
    """What the map shows from left to right, [S]; its axis' label, and the map's title."""
    if (samples.dynamics.times_seen[ranked] > 1).any():
        label = "variability: standard deviation of that probability over presentations"
        return samples.dynamics.variability, label, "Data map"
    # Nothing varies after one presentation, but when it came explains what could be known.
    return samples.dynamics.last_step.astype(np.float64), "optimizer step", "Data map (each sample seen once)"


def _colour(samples: RunSamples, shown: Ints) -> tuple[Floats, str]:
    correctness = samples.dynamics.correctness[shown]
    if np.isfinite(correctness).any():
        return correctness, "correctness: share of tokens that were the first choice"
    return samples.dynamics.forgetting_events[shown].astype(np.float64), "forgetting events"


def _name(axes: Axes, samples: RunSamples, across: Floats, suspects: Ints) -> None:
    """Names from bottom to top, each kept clear of the one below."""
    confidence = samples.dynamics.confidence
    for place, s in enumerate(suspects[np.argsort(confidence[suspects], kind="stable")].tolist()):
        axes.annotate(
            str(samples.seen.sample_ids[s])[:24],
            (across[s], confidence[s]),
            xytext=(26, 10 + 15 * place),
            textcoords="offset points",
            color=SUSPECT,
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": SUSPECT, "linewidth": 0.6},
        )


def _draw_suspicion(axes: Axes, samples: RunSamples, ranked: Ints, suspects: Ints) -> None:
    score = samples.suspicion.score
    axes.hist(score[ranked], bins=60, color=BAND, log=True)
    axes.axvline(0, color=FAINT, linewidth=1, linestyle="--")
    axes.plot(score[suspects], np.full(len(suspects), 0.7), "v", color=SUSPECT, markersize=6, clip_on=False)
    _style(axes, "Suspicion", "robust deviations; above 0 speaks for noise", "samples")


def _draw_losses(axes: Axes, samples: RunSamples, ranked: Ints, suspects: Ints) -> None:
    seen = samples.seen
    chosen = np.zeros(len(seen.sample_ids), np.bool_)
    chosen[ranked] = True
    own = chosen[seen.sample] & np.isfinite(seen.loss)
    middles, (low, median, high) = _quantiles(seen.step[own], seen.loss[own])
    axes.fill_between(middles, low, high, color=BAND, alpha=0.25, linewidth=0, label="8 of 10 samples")
    axes.plot(middles, median, color=BAND, linewidth=2, label="median")
    for s in suspects.tolist():
        mine: Bools = own & (seen.sample == s)
        axes.plot(seen.step[mine], seen.loss[mine], "o-", color=SUSPECT, linewidth=0.8, markersize=4, alpha=0.8)
    _style(axes, "Losses of the suspects over time", "optimizer step", "nats per token")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", frameon=False, labelcolor=INK)


def _quantiles(step: Ints, loss: Floats) -> tuple[Floats, Floats]:
    """Middles of bins of equal count, and the 10th, 50th and 90th percentile of the losses in each, [3, bins]."""
    bins = [part for part in np.array_split(np.arange(len(step)), TIME_BINS) if len(part)]
    middles = np.asarray([step[part].mean() for part in bins])
    return middles, np.asarray([np.percentile(loss[part], (10, 50, 90)) for part in bins]).reshape(-1, 3).T


def _thinned(ranked: Ints) -> Ints:
    """At most `MOST_POINTS`, least suspicious first, so that the others are drawn over them."""
    return ranked[:: 1 + len(ranked) // MOST_POINTS][::-1]


def _style(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=11, fontweight="bold")
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.grid(color="#d0d7de", linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
