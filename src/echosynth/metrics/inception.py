"""The Inception score of images: how sure a classifier is of each, and how many classes it sees in all."""

from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr

from echosynth.randomness import numpy_rng


@dataclass(frozen=True)
class InceptionScore:
    """`mean` and `sd` over the splits, `samples` images in each; None, with the `reason`, where there are too few."""

    mean: float | None
    sd: float | None
    samples: int
    reason: str | None = None


def inception_score(probabilities: np.ndarray, seed: int, splits: int = 10) -> InceptionScore:
    """exp(mean over images of KL(p(class | image) || p(class))), p(class) the mean of a split, over `splits` parts of `probabilities` (N, C) (Salimans et al. 2016).

    1 at worst, at best the number of classes. The images are dealt out at random, because the frames of one video follow each other in a list and would share a part. A part with fewer images
    than classes cannot know p(class), so it is refused.
    """
    count, classes = probabilities.shape
    size = count // splits
    if size < classes:
        return InceptionScore(None, None, size, f"{size} images in each of {splits} parts, {classes} needed for {classes} classes")
    dealt = np.asarray(probabilities, np.float64)[numpy_rng(seed, "inception score").permutation(count)]
    parts = np.array_split(dealt, splits)
    scores = [np.exp(rel_entr(part, part.mean(0)).sum(1).mean()) for part in parts]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), size)
