"""The table and the plot of docs/performance.md from what `echosynth bench` has left in benchmarks/results.

python -m benchmarks.performance          prints the table, draws docs/images/performance.png
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parent
WORDS = {
    "clip": "a clip of 64 frames, noise to file",
    "encode": "encoding a frame, file included",
    "decode": "decoding a frame",
    "train": "training the video model on a window",
    "screen": "judging a clip",
}


def main() -> None:
    found = {name: json.loads(path.read_text()) for name in WORDS if (path := ROOT / "results" / f"{name}.json").exists()}
    if not found:
        raise SystemExit(f"{ROOT / 'results'}: no results; run echosynth bench first")
    print("| | this recipe | the published one | times as quick | memory, MB |\n|---|---|---|---|---|")
    for name, one in found.items():
        own, other = one["compact"], one["paper"]
        print(f"| {WORDS[name]} | {own['seconds']:.3g} s | {other['seconds']:.3g} s | {one['times_as_quick']:,.0f} | {own['memory_mb']:,.0f} against {other['memory_mb']:,.0f} |")
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(found) + 1), layout="constrained")
    names = list(found)[::-1]
    axes.barh(names, [found[name]["times_as_quick"] for name in names], color="#2a6f97")
    for row, name in enumerate(names):
        axes.text(found[name]["times_as_quick"] * 1.1, row, f"{found[name]['times_as_quick']:,.0f} x", va="center")
    axes.set_xscale("log")
    axes.set_xlim(1, 4 * max(found[name]["times_as_quick"] for name in names))
    axes.set_xlabel("times as quick as the published recipe, same machine, in turns")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT.parent / "docs" / "images" / "performance.png", dpi=120)


if __name__ == "__main__":
    main()
