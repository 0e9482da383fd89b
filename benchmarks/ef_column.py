"""How far does an attacker get who holds the EF column of a release and a patient's own EF?

python -m benchmarks.ef_column [--members 60 180 1000 7465] [--repeats 60]

Simulated EFs like EchoNet-Dynamic's (most about 61, one in five low). Of so many members the law of the product is learnt, a release of as many clips as the cohort, or of 700, is drawn from it, and
members are told from strangers of the same population by privacy/ef_law.py's `ef_score`, with each of its widths and all of them, on the column as it is and with the shrinking undone; and by an
attacker who sees the law itself, without the chance of a release, and knows the population: against the law that the population would have given with kernels as wide. Beside it the law of the
first version: a training EF plus N(0, 1).
"""

import argparse

import numpy as np
from scipy.stats import norm

from echosynth.metrics.ranking import mann_whitney
from echosynth.privacy.ef_law import NARROW, SmoothLaw, ef_score
from echosynth.randomness import numpy_rng

STRANGERS, POPULATION = 1000, 100_000


def population(count: int, rng: np.random.Generator) -> np.ndarray:
    """EFs in percent, one decimal."""
    healthy = rng.random(count) < 0.78
    return np.clip(np.where(healthy, rng.normal(61, 6.5, count), rng.normal(40, 12, count)), 6, 92).round(1)


def released(law: SmoothLaw | None, members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """EFs that the law draws, two decimals; without one those of the first version."""
    if law is None:
        return (rng.choice(members, count) + rng.standard_normal(count)).round(2)
    return law.draw(rng, count).round(2)


def attacks(members: np.ndarray, strangers: np.ndarray, law: SmoothLaw | None, made: np.ndarray) -> dict[str, float]:
    """AUC by attack."""
    columns = {"as it is": made}
    if law is not None and len(members) > 1:
        columns["unshrunk"] = made.mean() + (made - made.mean()) * members.std() / max(law.centres.std(), 1e-9)
    kernels = {f"{width:g} points": (width,) for width in NARROW} | {"all widths": NARROW}
    return {f"{kernel}, {name}": mann_whitney(*(ef_score(side, column, widths) for side in (members, strangers))) for name, column in columns.items() for kernel, widths in kernels.items()}


def log_density(law: SmoothLaw, ef: np.ndarray) -> np.ndarray:
    """The log of the law's own density at EFs (N,)."""
    grid = np.arange(0, 100.05, 0.1)
    low, high = law.range
    images = [grid, 2 * low - grid, 2 * high - grid]
    density = sum(norm.pdf((image[:, None] - law.centres) / law.width).mean(1) / law.width for image in images)
    return np.log(np.interp(ef, grid, np.where((grid >= low) & (grid <= high), density, 0)) + 1e-6)


def tried(members: int, clips: int, smooth: bool, seed: int) -> dict[str, float]:
    """AUC by attack, in one simulated cohort."""
    rng = numpy_rng(seed, "benchmark EF column", members, clips)
    inside, outside = population(members, rng), population(max(members, STRANGERS), rng)
    law = SmoothLaw.fit(inside) if smooth else None
    return attacks(inside, outside, law, released(law, inside, clips, rng))


def knowing(members: int, seed: int, everybody: np.ndarray) -> dict[str, float]:
    """AUC of attackers who see the law itself and know the population."""
    rng = numpy_rng(seed, "benchmark EF law", members)
    inside, outside = population(members, rng), population(STRANGERS, rng)
    law, fair = SmoothLaw.fit(inside), SmoothLaw.fit(everybody)
    u = law.width / max(inside.std(), 1e-9)
    fair = SmoothLaw(everybody.mean() + np.sqrt(max(1 - u**2, 0)) * (everybody - everybody.mean()), u * everybody.std(), fair.range)
    return {"the law itself, population known": mann_whitney(*(log_density(law, side) - log_density(fair, side) for side in (inside, outside)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[60, 180, 1000, 7465])
    parser.add_argument("--repeats", type=int, default=60)
    options = parser.parse_args()
    everybody = population(2000, numpy_rng(0, "benchmark EF population"))
    for members in options.members:
        for clips in sorted({round(members / 0.7), 700}):
            for smooth in (False, True):
                found = [tried(members, clips, smooth, seed) for seed in range(options.repeats)]
                mean = {name: np.mean([one[name] for one in found]) for name in found[0]}
                spread = max(np.std([one[name] for one in found]) / np.sqrt(options.repeats) for name in mean)
                print(f"{members} members, {clips} clips, {'smooth law' if smooth else 'EF plus N(0, 1)'} (+-{spread:.3f}): " + ", ".join(f"{k}: {v:.3f}" for k, v in mean.items()), flush=True)
        known = [knowing(members, seed, everybody) for seed in range(options.repeats)]
        print(f"{members} members, " + ", ".join(f"{name}: {np.mean([one[name] for one in known]):.3f}" for name in known[0]), flush=True)


if __name__ == "__main__":
    main()
