"""How well embeddings tell patients apart: the AUC over pairs of frames."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from echosynth.metrics.ranking import mann_whitney


class PairAuc(NamedTuple):
    """Chance that two frames of one patient are more alike than two frames of two patients; NaN where there are no such pairs."""

    visits: float  # the two frames are of different clips of the patient
    frames: float  # the two frames are of one clip


def pair_auc(embeddings: Tensor, patients: Sequence, clips: Sequence) -> PairAuc:
    """From embeddings (N, D) of unit length and the labels (N,) of the patient and the clip of each; every pair of frames counts once."""
    cosines = (embeddings @ embeddings.T).numpy()
    (_, patient), (_, clip) = (np.unique(np.asarray(labels).astype(str), return_inverse=True) for labels in (patients, clips))
    first, second = np.triu_indices(len(patient), k=1)
    cosines, same_patient, same_clip = cosines[first, second], patient[first] == patient[second], clip[first] == clip[second]
    others = cosines[~same_patient]
    return PairAuc(mann_whitney(cosines[same_patient & ~same_clip], others), mann_whitney(cosines[same_clip], others))
