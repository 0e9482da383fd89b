"""Muon against torch's own, and against what an orthogonal matrix is."""

import torch

from echosynth.training.muon import Muon, orthogonalise


def test_singular_values_come_near_one():
    for shape in ((16, 48), (48, 16)):
        matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(orthogonalise(matrices))
        assert values.min() > 0.6 and values.max() < 1.25


def test_same_path_as_one_matrix_at_a_time():
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(shape, generator=generator) for shape in ((8, 8), (8, 8), (32, 8), (8, 32))]
    ours, theirs = ([torch.nn.Parameter(p.clone()) for p in start] for _ in range(2))
    targets = [torch.randn(p.shape, generator=generator) for p in start]
    optimizers = Muon(ours, lr=0.02, weight_decay=0.1), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1)
    for _ in range(5):
        for parameters in (ours, theirs):
            for p, target in zip(parameters, targets, strict=True):
                p.grad = p.detach() - target
        for optimizer in optimizers:
            optimizer.step()
    for p, q, first in zip(ours, theirs, start, strict=True):
        assert (p - q).norm() < 0.02 * (q - first).norm()  # torch's iterates in bfloat16


def test_a_parameter_without_a_gradient_stays():
    p, q = torch.nn.Parameter(torch.eye(4)), torch.nn.Parameter(torch.eye(4))
    p.grad = torch.ones(4, 4)
    Muon([p, q], lr=0.1).step()
    assert torch.equal(q, torch.eye(4)) and not torch.equal(p, torch.eye(4))
