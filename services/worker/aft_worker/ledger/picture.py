"""The picture of a run's samples: the data map of Dataset Cartography, beside suspicion and the suspects' losses."""

from io import BytesIO
from threading import Lock

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from aft_worker.ledger.presentations import Bools, Floats, Ints
from aft_worker.ledger.report import RunSamples

SUSPECTS = 12
"""Samples that are marked."""
NAMED = 5
"""Suspects that are named beside the map."""
MOST_POINTS = 20_000
"""Samples that are drawn; of more, every so-manieth."""
TIME_BINS = 60
INK, FAINT, SUSPECT, BAND = "#1b1f24", "#8b949e", "#d1242f", "#4c78a8"

_DRAWING = Lock()
"""Matplotlib keeps fonts and settings for the whole process, and requests come on many threads."""


def picture(samples: RunSamples, ranked: Ints) -> bytes:
    """PNG of the `ranked` samples, most suspicious first."""
    with _DRAWING:
        figure = Figure(figsize=(13, 7), dpi=110, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        # Fixed places: a layout that is computed breaks down over figures that are all equal.
        grid = figure.add_gridspec(
            2, 2, width_ratios=(1.45, 1), left=0.055, right=0.985, bottom=0.085, top=0.885, wspace=0.2, hspace=0.38
        )
        suspects = _suspects(samples, ranked)
        _draw_map(figure, figure.add_subplot(grid[:, 0]), samples, ranked, suspects)
        _draw_suspicion(figure.add_subplot(grid[0, 1]), samples, ranked, suspects)
        _draw_losses(figure.add_subplot(grid[1, 1]), samples, ranked, suspects)
        figure.suptitle(_title(samples, ranked), color=INK, fontsize=13, x=0.055, y=0.965, ha="left")
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
    colour, most, colour_label = _colour(samples, shown)
    points = axes.scatter(
        across[shown],
        measured.confidence[shown],
        c=colour,
        cmap="viridis",
        vmin=0,
        vmax=most,
        s=14,
        alpha=0.75,
        linewidths=0,
    )
    figure.colorbar(points, ax=axes, label=colour_label, shrink=0.7, pad=0.015, fraction=0.05)
    axes.scatter(
        across[suspects], measured.confidence[suspects], s=70, facecolors="none", edgecolors=SUSPECT, linewidths=1.6
    )
    _style(axes, title, label, "confidence: mean probability of a true token")
    _name(axes, samples, across, suspects)


def _across(samples: RunSamples, ranked: Ints) -> tuple[Floats, str, str]:
    """What the map shows from left to right, [S]; its axis' label, and the map's title."""
    if (samples.dynamics.times_seen[ranked] > 1).any():
        label = "variability: standard deviation of that probability over presentations"
        return samples.dynamics.variability, label, "Data map"
    # Nothing varies after one presentation, but when it came explains what could be known.
    return samples.dynamics.last_step.astype(np.float64), "optimizer step", "Data map (each sample seen once)"


def _colour(samples: RunSamples, shown: Ints) -> tuple[Floats, float, str]:
    """What the points' colour shows, its highest value, and its label."""
    correctness = samples.dynamics.correctness[shown]
    if np.isfinite(correctness).any():
        return correctness, 1.0, "correctness: share of tokens guessed right"
    events = samples.dynamics.forgetting_events[shown].astype(np.float64)
    return events, max(1.0, float(events.max())), "forgetting events"


def _name(axes: Axes, samples: RunSamples, across: Floats, suspects: Ints) -> None:
    """A list of the first suspects, each with a number that stands at its point too."""
    lines = [f"{len(suspects)} most suspicious"]
    for number, s in enumerate(suspects[:NAMED].tolist(), start=1):
        # An id may be in letters that the font lacks.
        lines.append(f"{number}  {ascii(samples.seen.sample_ids[s])[1:-1][:24]}  {samples.suspicion.score[s]:+.1f}")
        axes.annotate(
            str(number),
            (across[s], samples.dynamics.confidence[s]),
            xytext=(6, 5),
            textcoords="offset points",
            color=SUSPECT,
            fontsize=9,
            fontweight="bold",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
    if len(suspects):
        axes.text(
            0.985,
            0.98,
            "\n".join(lines),
            transform=axes.transAxes,
            ha="right",
            va="top",
            multialignment="left",
            color=SUSPECT,
            fontsize=9,
            linespacing=1.5,
            parse_math=False,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85},
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
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # The legend gets a strip of its own.
    axes.legend(loc="upper right", ncols=2, frameon=False, labelcolor=INK)


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
