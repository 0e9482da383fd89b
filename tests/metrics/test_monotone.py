"""What each distance sees and what it is blind to, on simulated clips; docs/metrics.md has the same table, and this test holds it to it.

Clips are compared with the same clips made worse in five strengths. A distance `rises` when it rises strictly with every strength and ends above the floor, which is the distance of clips of other patients (0, where that
is less: two equal distributions have it); it comes `late` when it ends above the floor without having risen at every strength; it is `blind` when it never reaches the floor.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from echosynth.cohort.phantom import simulate_clip
from echosynth.metrics.encoders import InDomain
from echosynth.metrics.frechet import frechet, standardised_frechet
from echosynth.metrics.kernel import kid
from echosynth.metrics.manifold import prdc
from echosynth.metrics.motion import flow_statistics
from echosynth.metrics.radiomics import FEATURES, radiomic_features
from echosynth.metrics.spectrum import speckle_spectrum, spectrum_distance, temporal_spectrum
from echosynth.metrics.wasserstein import standardised_wasserstein
from echosynth.networks.regressor import Regressor, RegressorConfig
from echosynth.randomness import numpy_rng

CLIPS, FRAMES, FPS = 24, 16, 50.0
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


def blur(clip, sigma, number):
    return np.stack([gaussian_filter(frame, sigma) for frame in clip])


def noise(clip, sd, number):
    return (clip + numpy_rng(0, "test noise", number).normal(0, sd, clip.shape)).clip(0, 255).round().astype(np.uint8)


def freeze(clip, share, number):
    """The last share of the clip stands still."""
    return clip[np.minimum(np.arange(FRAMES), max(FRAMES - round(share * FRAMES) - 1, 0))]


def shuffle(clip, reach, number):
    """Frames change places with others up to `reach` away."""
    return clip[np.argsort(np.arange(FRAMES) + numpy_rng(0, "test shuffle", number).uniform(0, reach, FRAMES))]


CORRUPTIONS = {
    "blur": (blur, (0.4, 0.6, 0.8, 1.0, 1.3)),
    "noise": (noise, (4, 8, 14, 22, 40)),
    "frozen time": (freeze, SHARES),
    "shuffled time": (shuffle, (2, 3, 5, 8, 64)),
}

DISTANCES = {  # features, figure: larger is worse
    "Frechet": ("hand-made", frechet),
    "KID": ("hand-made", lambda one, other: kid(one, other).value),
    "1 - precision": ("hand-made", "precision"),
    "1 - recall": ("hand-made", "recall"),
    "1 - density": ("hand-made", "density"),
    "1 - coverage": ("hand-made", "coverage"),
    "Frechet, untrained regressor": ("regressor", frechet),
    "Frechet radiomics": ("radiomics", standardised_frechet),
    "speckle spectrum": ("speckle", spectrum_distance),
    "temporal spectrum": ("temporal", spectrum_distance),
    "optical flow": ("flow", standardised_wasserstein),
}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return InDomain(Regressor(RegressorConfig(features=8, width=16)), "")


def features(clips, encoder):
    """Every kind of features (n, D) of clips (n, T, H, W); "hand-made" are eight that together see all that is done here, as a good encoder would."""
    found = {"regressor": encoder.features(clips, FPS)}
    found["radiomics"] = np.stack([radiomic_features(clip, 4) for clip in clips])
    found["speckle"] = np.stack([speckle_spectrum(clip) for clip in clips])
    found["temporal"] = np.stack([temporal_spectrum(clip) for clip in clips])
    found["flow"] = np.stack([flow_statistics(clip, FPS) for clip in clips])
    looks = found["radiomics"][:, [FEATURES.index(name) for name in ("mean", "sd", "gradient_mean")]]
    found["hand-made"] = np.column_stack([looks, found["speckle"][:, [3, 12]], found["temporal"][:, [1, 5]], found["flow"][:, 0]])
    return found


@pytest.fixture(scope="module")
def table(encoder):
    """{corruption: {distance: (floor, [at strength 0, ... 5])}}."""

    def clips(first, count, sites=("birch", "alder")):
        return np.stack([simulate_clip(5, first + k, 0, sites[k % len(sites)], frames=FRAMES).frames() for k in range(count)])

    plain = clips(100, CLIPS)
    base, others, more = features(plain, encoder), features(clips(0, CLIPS), encoder), features(clips(200, CLIPS // 2, ("alder",)), encoder)
    centre, spread = base["hand-made"].mean(0), base["hand-made"].std(0)
    for found in (base, others, more):
        found["hand-made"] = (found["hand-made"] - centre) / spread

    def figure(name, other):
        kind, measure = DISTANCES[name]
        if isinstance(measure, str):
            return 1 - getattr(prdc(base[kind], other[kind]), measure)
        return measure(base[kind], other[kind])

    def row(sets, shares):
        """Shares are judged on a growing share of clips that are hit hardest: one by one they are inside or outside."""
        return {
            name: (max(figure(name, others), 0.0), [figure(name, each) for each in [base, *(shares if isinstance(measure, str) else sets)]])
            for name, (_, measure) in DISTANCES.items()
        }

    def replaced(places, by):
        mixed = {kind: values.copy() for kind, values in base.items()}
        for kind, values in by.items():
            mixed[kind][places] = values
        return mixed

    found, order = {}, numpy_rng(0, "test order").permutation(CLIPS)
    for name, (corrupt, strengths) in CORRUPTIONS.items():
        sets = [features(np.stack([corrupt(clip, strength, k) for k, clip in enumerate(plain)]), encoder) for strength in strengths]
        for each in sets:
            each["hand-made"] = (each["hand-made"] - centre) / spread
        hit = [order[: round(share * CLIPS)] for share in SHARES]
        found[name] = row(sets, [replaced(places, {kind: values[places] for kind, values in sets[-1].items()}) for places in hit])
    dropped = [np.arange(0, CLIPS, 2)[: round(share * CLIPS / 2)] for share in SHARES]  # clips of one of the two scanners, for more of the other
    sets = [replaced(places, {kind: values[: len(places)] for kind, values in more.items()}) for places in dropped]
    return found | {"mode dropping": row(sets, sets)}


def verdict(floor, course):
    if max(course) < floor:
        return "blind"
    if course[-1] <= floor:
        return "neither"
    return "rises" if (np.diff(course) > 0).all() else "late"


def documented():
    """The table of docs/metrics.md that begins with the corruptions, as {corruption: {distance: word}}."""
    lines = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text().splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("| distance | blur"))
    heads = [cell.strip() for cell in lines[start].strip("|").split("|")][1:]
    found = {head: {} for head in heads}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        found |= {head: found[head] | {name: re.match(r"\w+", cell).group()} for head, cell in zip(heads, cells, strict=True)}
    return found


@pytest.mark.parametrize("corruption", [*CORRUPTIONS, "mode dropping"])
def test_each_distance_rises_or_the_page_says_that_it_is_blind(table, corruption):
    measured = {name: verdict(*course) for name, course in table[corruption].items()}
    assert measured == documented()[corruption], "\n".join(
        f"{name}: floor {floor:.4g}, {np.array(course).round(4).tolist()}" for name, (floor, course) in table[corruption].items()
    )


def test_nothing_done_is_no_distance(table):
    for name, (floor, course) in table["blur"].items():
        assert course[0] <= floor, name
