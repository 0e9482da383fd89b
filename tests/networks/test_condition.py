"""What a sample is to agree with: parts of it, pairs of it, and what is not told."""

import pytest
import torch

from echosynth.networks.denoiser import Condition

B, T, SHAPE = 3, 4, (2, 2, 2)


@pytest.fixture
def condition() -> Condition:
    rng = torch.Generator().manual_seed(0)
    mask = torch.zeros(B, T, dtype=torch.bool)
    mask[1, :2] = True
    return Condition(torch.rand(B, 1, generator=rng), torch.rand(B, *SHAPE, generator=rng), torch.rand(B, T, *SHAPE, generator=rng), mask)


def test_known_frames_are_shown_without_noise_and_the_others_as_they_are(condition):
    x, t = torch.full((B, T, *SHAPE), 7.0), torch.tensor([0.0, 0.25, 1.0])
    shown = condition.shown(x, t)
    assert torch.equal(shown[1, :2], 0.75 * condition.known[1, :2])
    assert (shown[1, 2:] == 7).all() and (shown[[0, 2]] == 7).all()
    assert Condition(condition.labels).shown(x, t) is x


def test_what_is_not_told_is_the_label_alone(condition):
    untold = condition.untold()
    assert untold.labels.isnan().all() and untold.labels.shape == (B, 1)
    assert untold.anchor is condition.anchor and untold.known is condition.known and untold.mask is condition.mask


def test_the_rows_of_a_pair_are_those_of_either(condition):
    pair = condition.beside(condition.untold())
    for rows, whole in ((torch.arange(B), condition), (torch.arange(B, 2 * B), condition.untold())):
        part = pair.of(rows)
        assert torch.equal(part.labels, whole.labels) or (part.labels.isnan() & whole.labels.isnan()).all()
        assert torch.equal(part.anchor, whole.anchor) and torch.equal(part.known, whole.known) and torch.equal(part.mask, whole.mask)
    bare = Condition(condition.labels).beside(Condition(condition.labels)).of(torch.tensor([0]))
    assert bare.labels.shape == (1, 1) and bare.anchor is None and bare.known is None and bare.mask is None
