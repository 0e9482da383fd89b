"""AUC over pairs of frames, against pairs counted by hand."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from echosynth.privacy.pairs import pair_auc


def on_circle(*degrees):
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_hand_worked():
    # Patient a: clip 1 at 0 and 10 degrees, clip 2 at 60. Patient b: one frame at 90.
    # One clip: 10. Visits: 60, 50. Others: 90, 80, 30. Smaller is more alike: visits win (60 < 90, 80), (50 < 90, 80): 4 of 6.
    auc = pair_auc(on_circle(0, 10, 60, 90), ["a", "a", "a", "b"], [1, 1, 2, 3])
    assert auc.visits == 4 / 6 and auc.frames == 1


def test_a_coin_flip_for_random_embeddings():
    rng = np.random.default_rng(0)
    embeddings = F.normalize(torch.from_numpy(rng.standard_normal((400, 64))), dim=1)
    auc = pair_auc(embeddings, np.arange(400) // 4, np.arange(400) // 2)
    assert abs(auc.visits - 0.5) < 0.05 and abs(auc.frames - 0.5) < 0.05


def test_no_visits():
    auc = pair_auc(on_circle(0, 1, 50, 51), ["a", "a", "b", "b"], [0, 0, 1, 1])
    assert math.isnan(auc.visits) and auc.frames == 1
