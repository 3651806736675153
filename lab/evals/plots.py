"""Pictures of evaluations, in one look: few colours, intervals shown, labels at the lines."""

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter

from lab.errors import InputError
from lab.evals.statistics import Proportion, proportion
from lab.schemas.receipt import Receipt
from lab.schemas.source_kind import SourceKind

COLOURS = ("#0f766e", "#b45309", "#4338ca", "#be123c", "#0284c7", "#86198f")
"""Told apart by colour-blind people too, and in print."""
INK = "#1f2937"
FAINT = "#9ca3af"
LABEL_HEIGHT = 0.065
"""Of a line of text, as part of an axis from 0 to 1."""


class Plot(Figure):
    """A figure that notebooks show, without pyplot and its registry of every figure."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def accuracy_by_distance(
    distances: Sequence[float],
    arms: Mapping[str, Sequence[bool]],
    *,
    chance: float,
    n_bins: int = 6,
) -> Plot:
    """
    Show how often each arm was right, by how long ago the fact was said.

    Parameters
    ----------
    distances : sequence of float
        For each question, in windows of the model.
    arms : mapping
        Name of each arm with its outcomes, in the order of `distances`.
    chance : float
        Share that guessing gets right.
    n_bins : int
        Most points of a line beyond the window; each holds about as many questions.
    """
    figure, axes = _empty_figure(height=3.6)
    bins = _bins(distances, n_bins)
    centres = [float(np.mean([distances[i] for i in b])) for b in bins]
    axes.axvspan(0, 1, color=FAINT, alpha=0.18, lw=0)
    axes.text(0.5, 1.13, "in the\nwindow", ha="center", va="bottom", color=INK, fontsize=8)
    axes.axhline(chance, color=FAINT, ls=(0, (4, 3)), lw=1)
    axes.text(max(distances) * 1.03, chance, f"chance {chance:.0%}", va="center", color="#6b7280")
    ends: list[float] = []
    for (name, outcomes), colour in zip(arms.items(), COLOURS, strict=False):
        shares = [proportion([outcomes[i] for i in b]) for b in bins]
        _line(axes, centres, shares, colour)
        label_row = sum(abs(end - shares[-1].value) < 0.1 for end in ends)
        ends.append(shares[-1].value)
        axes.annotate(
            name,
            (centres[-1], ends[-1]),
            xytext=(0, 9 + 15 * label_row),
            textcoords="offset points",
            ha="right",
            color=colour,
            fontweight="bold",
        )
    axes.set_xlim(0, max(distances) * 1.02)
    axes.set_ylim(-0.03, 1.12)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MultipleLocator(1 if max(distances) <= 12 else 5))
    axes.set_xlabel("how long ago the fact was said, in windows of the model")
    axes.set_ylabel("right answers")
    return figure


def scores_against_aims(
    scores: Mapping[str, Proportion], aims: Mapping[str, float] | None = None
) -> Plot:
    """
    Show one score a row with its interval, and what was aimed at.

    Parameters
    ----------
    scores : mapping
        Name of each skill with its share of right answers.
    aims : mapping, optional
        What each should reach, by the same names.
    """
    figure, axes = _empty_figure(height=0.42 * len(scores) + 1.1)
    for row, (name, score) in enumerate(scores.items()):
        aim = (aims or {}).get(name)
        colour = COLOURS[0] if aim is None or score.value >= aim else COLOURS[1]
        axes.barh(row, score.value, height=0.55, color=colour, alpha=0.85)
        axes.plot([score.low, score.high], [row, row], color=INK, lw=1.2)
        axes.text(1.02, row, f"{score.value:.1%}", va="center", color=INK)
        if aim is not None:
            axes.plot([aim, aim], [row - 0.42, row + 0.42], color=INK, lw=2)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("right answers, 95 % interval" + ("; the dark bar is the aim" if aims else ""))
    return figure


def recall_by_budget(
    recall: Mapping[int, Proportion], by_kind: Mapping[str, Mapping[int, Proportion]]
) -> Plot:
    """
    Show how much of the evidence stands in windows of several sizes.

    Parameters
    ----------
    recall : mapping
        Of all questions, by the tokens of the window.
    by_kind : mapping
        The same for each kind of question.
    """
    figure, axes = _empty_figure(height=3.8)
    budgets = list(recall)
    for (_, shares), colour in zip(by_kind.items(), _colours(len(by_kind)), strict=True):
        values = [shares[tokens].value for tokens in budgets]
        axes.plot(budgets, values, "o-", color=colour, lw=1.2, ms=3.5)
    _line(axes, budgets, list(recall.values()), INK)
    for tokens, share in recall.items():
        axes.annotate(
            f"{share.value:.0%}",
            (tokens, share.low),
            xytext=(0, -4),
            textcoords="offset points",
            ha="center",
            va="top",
            color=INK,
            fontweight="bold",
            fontsize=8,
        )
    ends = {"all questions": (recall[budgets[-1]].value, INK)}
    for (kind, shares), colour in zip(by_kind.items(), _colours(len(by_kind)), strict=True):
        ends[kind] = shares[budgets[-1]].value, colour
    _label_ends(axes, budgets[-1], ends)
    axes.set_xscale("log", base=2)
    axes.set_xticks(budgets, [f"{tokens:,}" for tokens in budgets])
    axes.minorticks_off()
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("tokens of the window; the band is the 95 % interval of all questions")
    axes.set_ylabel("of what answers a question,\nin the window")
    return figure


def shares_by_kind(shares: Mapping[str, Mapping[str, Proportion]], what: str) -> Plot:
    """
    Show for each kind of question how several arms or measures compare, with their intervals.

    Parameters
    ----------
    shares : mapping
        By arm, then by kind.
    what : str
        What the shares are of.
    """
    kinds = list(dict.fromkeys(kind for by_kind in shares.values() for kind in by_kind))
    figure, axes = _empty_figure(height=(0.22 * len(shares) + 0.22) * len(kinds) + 1.1)
    step = 0.7 / len(shares)
    for number, ((arm, by_kind), colour) in enumerate(
        zip(shares.items(), _colours(len(shares)), strict=True)
    ):
        for kind, share in by_kind.items():
            row = kinds.index(kind) + (number - (len(shares) - 1) / 2) * step
            axes.plot([share.low, share.high], [row, row], color=colour, lw=3, alpha=0.4)
            axes.plot(share.value, row, "o", color=colour, ms=6)
            axes.text(1.03, row, f"{share.value:.0%}", va="center", color=colour, fontsize=9)
        axes.plot([], [], "o-", color=colour, label=arm)
    for line in range(1, len(kinds)):
        axes.axhline(line - 0.5, color=FAINT, lw=0.6, alpha=0.5)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{what}, 95 % interval")
    figure.legend(loc="outside upper center", ncols=len(shares), frameon=False)
    return figure


def training_curve(n_tokens: Sequence[int], losses: Sequence[float], phases: Sequence[str]) -> Plot:
    """
    Show how the loss falls with what was read.

    Parameters
    ----------
    n_tokens : sequence of int
        Tokens read after each step.
    losses : sequence of float
        Loss of each step.
    phases : sequence of str
        Name of the phase of each step.

    Raises
    ------
    InputError
        If there is no step, as after a training that had been finished before.
    """
    if not losses:
        raise InputError("No step was trained; name another work folder to train anew.")
    figure, axes = _empty_figure(height=3.2)
    millions = np.asarray(n_tokens) / 1e6
    axes.plot(millions, losses, color=COLOURS[0], alpha=0.3, lw=0.8)
    width = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    axes.plot(millions[width - 1 :], smooth, color=COLOURS[0], lw=2)
    starts = [i for i, phase in enumerate(phases) if i == 0 or phase != phases[i - 1]]
    for start in starts:
        axes.axvline(millions[start], color=FAINT, ls=(0, (4, 3)), lw=1)
        axes.annotate(
            phases[start],
            (millions[start], 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -4),
            textcoords="offset points",
            va="top",
            rotation=90,
            color=INK,
            fontsize=8,
        )
    axes.set_yscale("log")
    axes.set_xlim(0, float(millions[-1]))
    axes.set_xlabel("millions of tokens read")
    axes.set_ylabel("loss on what the model has to say")
    return figure


def window_of(receipt: Receipt) -> Plot:
    """Show what a model's window was filled with for one answer."""
    figure, axes = _empty_figure(height=1.5)
    tokens = {
        f"{kind.value}": sum(i.n_tokens for i in receipt.items if i.kind is kind and i.included)
        for kind in SourceKind
    }
    tokens["kept for the answer"] = receipt.answer_tokens
    tokens["free"] = receipt.context_length - sum(tokens.values())
    start = 0
    colours = [*_colours(len(SourceKind)), "#94a3b8", "#e5e7eb"]
    for (name, width), colour in zip(tokens.items(), colours, strict=True):
        axes.barh(0, width, left=start, height=0.6, color=colour, label=f"{name}: {width}")
        start += width
    axes.set_xlim(0, receipt.context_length)
    axes.set_ylim(-0.35, 0.35)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"tokens of the window of {receipt.model}")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def similarity_map(texts: Sequence[str], vectors: Sequence[Sequence[float]]) -> Plot:
    """
    Show how close each text is to each other in meaning.

    Parameters
    ----------
    texts : sequence of str
        N texts.
    vectors : sequence
        Their unit embeddings, of shape (N, D).
    """
    figure, axes = _empty_figure(height=0.42 * len(texts) + 1.0)
    table = np.asarray(vectors) @ np.asarray(vectors).T
    axes.imshow(table, cmap="GnBu", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if value > 0.6 else INK
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_yticks(range(len(texts)), [f"{text}   {i}" for i, text in enumerate(texts, 1)])
    axes.set_xticks(range(len(texts)), [str(i) for i in range(1, len(texts) + 1)])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


def _bins(distances: Sequence[float], n_bins: int) -> list[list[int]]:
    """Return the questions of each point: one point for those in the window, others beyond it."""
    order = sorted(range(len(distances)), key=lambda i: distances[i])
    within = [i for i in order if distances[i] < 1]
    beyond = np.array(order[len(within) :], dtype=int)
    parts = np.array_split(beyond, max(1, min(n_bins, len(beyond))))
    return [part for part in (within, *(p.tolist() for p in parts)) if part]


def _line(axes: Axes, centres: Sequence[float], shares: Sequence[Proportion], colour: str) -> None:
    axes.plot(centres, [share.value for share in shares], "o-", color=colour, lw=2, ms=5)
    axes.fill_between(
        centres, [s.low for s in shares], [s.high for s in shares], color=colour, alpha=0.15, lw=0
    )


def _label_ends(axes: Axes, x: float, ends: Mapping[str, tuple[float, str]]) -> None:
    """Write names at the ends of lines, moved apart where lines end close together."""
    names = sorted(ends, key=lambda name: ends[name][0], reverse=True)
    heights = [ends[name][0] for name in names]
    for _ in range(100):  # each pair gives way by halves, so that a group spreads to both sides
        for upper, lower in pairwise(range(len(heights))):
            lacking = max(0.0, LABEL_HEIGHT - (heights[upper] - heights[lower]))
            heights[upper] += lacking / 2
            heights[lower] -= lacking / 2
    for name, height in zip(names, heights, strict=True):
        colour = ends[name][1]
        axes.annotate(
            name,
            (x, height),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontweight="bold" if colour == INK else "normal",
            annotation_clip=False,
        )


def _colours(n: int) -> list[str]:
    """Return a colour for each of n things; beyond a few they repeat."""
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _empty_figure(height: float) -> tuple[Plot, Axes]:
    figure = Plot(figsize=(7.2, height), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.grid(color=FAINT, alpha=0.3, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    return figure, axes
