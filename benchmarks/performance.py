"""The tables and the plots of docs/performance.md from what benchmarks have left in benchmarks/results.

python -m benchmarks.performance          prints the tables, draws docs/images/performance.png

    clip.json, encode.json ...      echosynth bench
    steps.jsonl                     python -m benchmarks.steps videos STUDY --clips 60 --steps 1 2 4 8 16 32 --samplers exponential multistep euler heun > FILE
    widths.jsonl                    python -m benchmarks.ablations widths STORE JUDGE OUT --minutes 2.5 5 10 > FILE

Whatever of these is missing is left out.
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parent
WORDS = {
    "clip": "a clip of 64 frames, noise to file",
    "clips": "the same, of many made together",
    "encode": "encoding a frame, file included",
    "decode": "decoding a frame",
    "train": "training the video model on a window",
    "screen": "judging a clip",
}
INK, COLOURS = "#222222", {"exponential": "#2a6f97", "multistep": "#e07a5f", "heun": "#81b29a", "euler": "#9a8c98"}


def rows(name: str, key: str) -> list[dict]:
    """The lines of JSON in results/`name` that have `key`."""
    path = ROOT / "results" / name
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")] if path.exists() else []
    return [line for line in lines if key in line]


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.2g} x"


def speed(axes) -> None:
    """How many times as quick as the published recipe."""
    found = {name: json.loads(path.read_text()) for name in WORDS if (path := ROOT / "results" / f"{name}.json").exists()}
    print("| | this recipe | the published one | times as quick | memory, MB |\n|---|---|---|---|---|")
    for name, one in found.items():
        own, other = one["compact"], one["paper"]
        print(
            f"| {WORDS[name]} | {own['seconds']:.3g} s | {other['seconds']:.3g} s | {_times(one['times_as_quick'])} | {own['memory_mb']:,.0f} against {other['memory_mb']:,.0f} |"
        )
    names = list(found)[::-1]
    axes.barh(names, [found[name]["times_as_quick"] for name in names], color=COLOURS["exponential"])
    for row, name in enumerate(names):
        axes.text(found[name]["times_as_quick"] * 1.15, row, _times(found[name]["times_as_quick"]), va="center")
    axes.set(xscale="log", xlim=(0.1, 30 * max([1.0, *(found[name]["times_as_quick"] for name in names)])), xlabel="times as quick as the published recipe")


def quality(left, right) -> None:
    """Sampling steps against obedience to the EF and against likeness."""
    print("\n| sampler | steps | seconds a clip | flicker | EF RMSE, bias, slope | R2 | Frechet |\n|---|---|---|---|---|---|---|")
    found = rows("steps.jsonl", "sampler")
    for row in found:
        print(
            f"| {row['sampler']} | {row['steps']} | {row['seconds_a_clip']:.2f} | {row['flicker']} | {row['rmse']:.1f}, {row['bias']:.1f}, {row['slope']:.2f} | {row['r2']:.2f} | {row['frechet']:.1f} |"
        )
    for name in dict.fromkeys(row["sampler"] for row in found):
        own = [row for row in found if row["sampler"] == name]
        for axes, key in ((left, "r2"), (right, "frechet")):
            axes.plot([row["steps"] for row in own], [row[key] for row in own], marker="o", label=name, color=COLOURS.get(name, INK))
    for axes, word in ((left, "R2 of the EF asked for"), (right, "Frechet distance")):
        axes.set(xscale="log", xlabel="sampling steps", ylabel=word)
        axes.set_xticks([1, 2, 4, 8, 16, 32], labels=["1", "2", "4", "8", "16", "32"])
        axes.minorticks_off()
    left.set_ylim(0, 1)
    right.set_ylim(0, None)
    left.legend(frameon=False)


def scaling(axes) -> None:
    """Held-out loss against training time, of some widths."""
    found, line = rows("widths.jsonl", "loss_val"), rows("widths.jsonl", "exponent")
    if not found:
        return
    print("\n| network | minutes | steps | held-out loss | R2 | Frechet |\n|---|---|---|---|---|---|")
    for row in found:
        print(f"| {row['choice']} | {row['minutes']:g} | {row['steps']} | {row['loss_val']:.4f} | {row['r2']:.2f} | {row['frechet']:.1f} |")
    for name in dict.fromkeys(row["choice"] for row in found):
        own = [row for row in found if row["choice"] == name]
        axes.plot([row["minutes"] for row in own], [row["loss_val"] for row in own], marker="o", label=f"{name}, {own[0]['parameters'] / 1e6:.1f} M")
    for fit in line:
        axes.plot(
            fit["minutes"], [fit["loss_at_one_minute"] * m ** fit["exponent"] for m in fit["minutes"]], "--", color=INK, label=f"minutes to the power of {fit['exponent']:.3f}"
        )
    axes.set(xscale="log", yscale="log", xlabel="minutes of training, two cores", ylabel="held-out loss")
    axes.legend(frameon=False)


def main() -> None:
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    speed(axes[0, 0])
    quality(axes[0, 1], axes[1, 0])
    scaling(axes[1, 1])
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.set_visible(one.has_data())
    figure.savefig(ROOT.parent / "docs" / "images" / "performance.png", dpi=110)


if __name__ == "__main__":
    main()
