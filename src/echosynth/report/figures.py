"""The report's charts: matplotlib drawings as inline SVG that takes the page's colours, so that one drawing serves light, dark and print."""

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

matplotlib.use("Agg")

# Colours that stand for a variable of the page's style sheet until the drawing is inlined: matplotlib wants a colour, the page decides which.
INK, MUTED, GRID, PAPER, REAL, SYNTHETIC, COPY, EXTRA = (f"#0a0b{i:02x}" for i in range(8))
_VARIABLES = dict(zip((INK, MUTED, GRID, PAPER, REAL, SYNTHETIC, COPY, EXTRA), ("ink", "muted", "grid", "paper", "real", "synthetic", "copy", "extra"), strict=True))

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "echosynth",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
}
_WIDTH, _HEIGHT = 4.3, 3.1  # inches: one column of the page, legible at its own size on a telephone
_POINTS = 1500  # most points a scatter shows


def draw(plot: Callable[[Axes], None], alt: str, width: float = _WIDTH, height: float = _HEIGHT) -> Markup:
    """One chart as inline SVG: `plot(axes)` draws it, `alt` is its text alternative."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        plot(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(file.getvalue(), alt)


def _inline(svg: str, alt: str) -> Markup:
    """A matplotlib SVG as part of a page: no XML head, ids of its own, colours as variables, a size that follows the column."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    prefix = f"c{hashlib.blake2b((alt + svg).encode(), digest_size=4).hexdigest()}-"  # of the content, so that a page has the same bytes each time
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"#0a0b0\d", lambda colour: f"var(--{_VARIABLES[colour.group()]})", svg)
    box = re.search(r'viewBox="([^"]*)"', svg).group(1)
    head = f'<svg viewBox="{box}" role="img" aria-label="{escape(alt)}" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1))


def bounds(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Axis limits that hold all `values` and at least [low, high], at multiples of ten."""
    return min(low, 10 * np.floor(values.min() / 10)), max(high, 10 * np.ceil(values.max() / 10))


def scatter(x: np.ndarray, y: np.ndarray, xlabel: str, ylabel: str, note: str, colour: str) -> Markup:
    """EF read against EF true or asked for, both in percent, with the line of identity; `note` is written into the corner."""
    assert x.shape == y.shape and x.ndim == 1
    shown = np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(int)
    both = np.concatenate([x, y])
    low, high = bounds(both, 0, 90)

    def plot(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.scatter(x[shown], y[shown], s=13, color=colour, alpha=0.55, linewidths=0)
        axes.set(xlim=(low, high), ylim=(low, high), xlabel=xlabel, ylabel=ylabel, aspect="equal")
        axes.text(0.04, 0.96, note, transform=axes.transAxes, va="top", fontsize=9, linespacing=1.45)

    more = f" {len(shown)} of {len(x)} clips are shown." if len(shown) < len(x) else ""
    return draw(plot, f"Scatter plot of {len(x)} clips: {ylabel} against {xlabel}. {note.replace(chr(10), ', ')}.{more}", height=3.6)


def bland_altman(truth: np.ndarray, predicted: np.ndarray, colour: str) -> Markup:
    """Differences over means (Bland & Altman 1986), with the mean difference and the limits of agreement, all in EF points."""
    mean, difference = (truth + predicted) / 2, predicted - truth
    bias, spread = difference.mean(), difference.std(ddof=1) if len(difference) > 1 else 0.0
    shown = np.linspace(0, len(mean) - 1, min(len(mean), _POINTS)).round().astype(int)

    def plot(axes: Axes) -> None:
        axes.scatter(mean[shown], difference[shown], s=13, color=colour, alpha=0.55, linewidths=0)
        for level, style in ((bias, "-"), (bias - 1.96 * spread, (0, (4, 3))), (bias + 1.96 * spread, (0, (4, 3)))):
            axes.axhline(level, color=INK, linewidth=1, linestyle=style)
            axes.annotate(f"{level:+.1f}".replace("-", "−"), (1, level), xycoords=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=8.5)
        axes.set(xlabel="mean of predicted and true EF (%)", ylabel="predicted minus true (EF points)")
        axes.margins(y=0.12)

    return draw(
        plot, f"Bland-Altman plot of {len(mean)} clips: bias {bias:.1f}, limits of agreement {bias - 1.96 * spread:.1f} to {bias + 1.96 * spread:.1f} EF points.", height=3.6
    )


def calibration(groups: Mapping[str, tuple[np.ndarray, np.ndarray, str]], bins: int = 6) -> Markup:
    """Mean truth, with its 95 % interval, of clips in `bins` groups of one size by their prediction; `groups` maps a name to (predicted, true, colour), in percent."""
    drawn = {}
    for name, (predicted, truth, colour) in groups.items():
        parts = [part for part in np.array_split(np.argsort(predicted, kind="stable"), bins) if len(part)]
        error = [1.96 * truth[part].std(ddof=1) / np.sqrt(len(part)) if len(part) > 1 else 0.0 for part in parts]
        x, y = [predicted[part].mean() for part in parts], [truth[part].mean() for part in parts]
        drawn[name] = (np.array(x), np.array(y), np.array(error), colour)
    ends = [end for x, y, error, _ in drawn.values() for end in (x, y - error, y + error)]
    low, high = bounds(np.concatenate(ends), 20, 80)

    def plot(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for name, (x, y, error, colour) in drawn.items():
            axes.errorbar(x, y, yerr=error, color=colour, marker="o", markersize=4, capsize=2, label=name)
        axes.set(xlim=(low, high), ylim=(low, high), xlabel="EF predicted (%)", ylabel="mean true EF (%)", aspect="equal")
        axes.legend(loc="upper left")

    return draw(plot, f"Calibration: mean true EF over predicted EF, {' and '.join(groups)}.", height=3.6)


def curve(clips: np.ndarray, r2: np.ndarray, low: np.ndarray, high: np.ndarray, reference: float | None) -> Markup:
    """R2 over the number of clips, with intervals, beside a `reference`."""

    def plot(axes: Axes) -> None:
        axes.fill_between(clips, low, high, color=SYNTHETIC, alpha=0.2, linewidth=0)
        axes.plot(clips, r2, color=SYNTHETIC, marker="o")
        if reference is not None:
            axes.axhline(reference, color=REAL, linewidth=1.2, linestyle=(0, (4, 3)), label="trained on real clips")
            axes.legend(loc="lower right")
        axes.set(xlabel="synthetic clips trained on", ylabel="R² on real test patients", ylim=(min(0.0, float(low.min())), 1))
        if len(clips) > 1:
            axes.set_xscale("log")
        axes.set_xticks(clips, [f"{count:,.0f}" for count in clips], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())

    return draw(plot, f"R² over the number of synthetic clips: {', '.join(f'{r:.2f} of {c:.0f}' for c, r in zip(clips, r2, strict=True))}.", height=3.6)


def power(groups: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, str]], kinds: Sequence[str]) -> Markup:
    """Shares caught (with their intervals) of copies of each kind, a row each; `groups` maps a screen to (share, low, high, colour), one value a kind and NaN where it has no eye for it."""
    places = np.arange(len(kinds))[::-1]

    def plot(axes: Axes) -> None:
        for number, (name, (share, low, high, colour)) in enumerate(groups.items()):
            y, known = places + 0.22 * ((len(groups) - 1) / 2 - number), ~np.isnan(share)
            axes.errorbar(
                100 * share[known],
                y[known],
                xerr=100 * np.stack([share - low, high - share])[:, known],
                color=colour,
                marker="o",
                markersize=3.5,
                linestyle="none",
                capsize=2,
                label=name,
            )
        axes.set(xlim=(-2, 102), xlabel="copies caught (%), with 95 % interval", yticks=places, yticklabels=kinds)
        axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.13 * 6 / len(kinds) - 0.04), ncols=len(groups))

    return draw(plot, f"Share of planted copies caught, by kind: {', '.join(kinds)}.", width=6.0, height=0.27 * len(kinds) + 1.1)


def forest(names: Sequence[str], values: np.ndarray, low: np.ndarray, high: np.ndarray, limit: float) -> Markup:
    """AUCs with their intervals, a row each, beside a coin and the limit."""
    places = np.arange(len(names))[::-1]

    def plot(axes: Axes) -> None:
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.axvline(limit, color=COPY, linewidth=1)
        axes.errorbar(values, places, xerr=np.stack([values - low, high - values]), color=REAL, marker="o", markersize=3.5, linestyle="none", capsize=2)
        axes.set(xlim=(min(0.3, float(low.min()) - 0.02), max(0.7, float(high.max()) + 0.02)), xlabel="AUC, with 95 % interval", yticks=places, yticklabels=names)

    return draw(plot, f"AUC of each attack: {', '.join(f'{name} {value:.2f}' for name, value in zip(names, values, strict=True))}.", width=6.0, height=0.24 * len(names) + 0.9)


def _thinned(values: np.ndarray, most: int) -> np.ndarray:
    """Means over at most `most` consecutive runs of `values`."""
    return np.array([part.mean() for part in np.array_split(values, min(most, len(values)))])


def loss_curve(steps: np.ndarray, losses: np.ndarray, name: str) -> Markup:
    """Training loss over the steps: as logged, and a running mean over a twentieth of the run."""
    width = max(1, len(losses) // 20)
    padded = np.pad(losses, (width // 2, width - 1 - width // 2), mode="edge")
    smooth = np.convolve(padded, np.ones(width) / width, mode="valid")
    steps, losses, smooth = _thinned(steps, 300), _thinned(losses, 300), _thinned(smooth, 300)

    def plot(axes: Axes) -> None:
        axes.plot(steps, losses, color=REAL, alpha=0.35, linewidth=0.8)
        axes.plot(steps, smooth, color=REAL, marker="" if len(steps) > 1 else "o")
        axes.set(xlabel="step", ylabel="loss")
        if losses.min() > 0 and losses.max() > 8 * losses.min():
            axes.set_yscale("log")
            axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=FormatStrFormatter("%g"), minor_locator=NullLocator())
        axes.margins(x=0.02)

    return draw(plot, f"Training loss of the {name}: from {losses[0]:.3g} to {smooth[-1]:.3g} over {steps[-1]:.0f} steps.", height=2.5)


def shares(
    groups: Mapping[str, tuple[np.ndarray, str]],
    xlabel: str,
    ylabel: str,
    edges: np.ndarray,
    line: tuple[float, str] | None = None,
    wider: Mapping[str, np.ndarray] | None = None,
) -> Markup:
    """Histograms, each as the share of its own samples in percent.

    Args:
        groups: By name, (values, colour).
        xlabel: What the values are, with their unit.
        ylabel: What the shares are of.
        edges: Of the common bins.
        line: A value that is marked on the x axis, and its label.
        wider: By name, some of the edges, for groups with fewer bins: a share is spread evenly over the bins joined.
    """

    def plot(axes: Axes) -> None:
        for name, (values, colour) in groups.items():
            bins = (wider or {}).get(name, edges)
            joined = np.diff(np.searchsorted(edges, bins))
            height = np.histogram(np.clip(values, bins[0], bins[-1]), bins)[0] / len(values) * 100 / joined
            axes.stairs(height, bins, fill=True, color=colour, alpha=0.28, linewidth=0)
            axes.stairs(height, bins, color=colour, linewidth=1.5, label=f"{name} ({len(values)})")
        if line:
            axes.axvline(line[0], color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=line[1])
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(edges[0], edges[-1]))
        axes.grid(axis="x", visible=False)
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, handlelength=1.2, columnspacing=1.2)

    return draw(plot, f"Histogram: {xlabel}, for {', '.join(groups)}.", height=3.6)


def traces(curves: Sequence[tuple[np.ndarray, np.ndarray]], ylabel: str, ylim: tuple[float, float], colour: str, alt: str) -> Markup:
    """A few curves over time, one below the other with a common scale: `curves` holds (time s, value) each."""

    def plot(axes: Axes) -> None:
        step = 1.15 * (ylim[1] - ylim[0])
        for row, (time, value) in enumerate(curves):
            axes.plot(time, value - ylim[0] - row * step, color=colour, linewidth=1.3)
            axes.axhline(-row * step, color=GRID, linewidth=0.7)
        axes.set(xlabel="time (s)", ylabel=ylabel, yticks=[])
        axes.set_ylim(-(len(curves) - 1) * step - 0.08 * step, step)
        axes.margins(x=0.02)

    return draw(plot, alt, height=0.8 + 0.75 * len(curves))
