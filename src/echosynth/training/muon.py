"""Muon (Keller Jordan 2024, https://kellerjordan.github.io/posts/muon/), with all matrices of one shape orthogonalised together, in float32.

`torch.optim.Muon` takes one matrix at a time, in bfloat16; for the many small matrices of our networks that is a tenth of a training step on a CPU.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic iteration, steepest at zero
STEPS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, each matrix's update orthogonalised and scaled by sqrt(max(1, rows / columns)); decoupled weight decay."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            lr, momentum, alike = group["lr"], group["momentum"], defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    assert p.ndim == 2, "Muon is for matrices"
                    alike[p.shape].append(p)
            for shape, parameters in alike.items():
                updates = []
                for p in parameters:
                    state = self.state[p]
                    if not state:
                        state["momentum_buffer"] = torch.zeros_like(p)
                    updates.append(p.grad.lerp(state["momentum_buffer"].lerp_(p.grad, 1 - momentum), momentum))
                scale = max(1, shape[0] / shape[1]) ** 0.5
                for p, update in zip(parameters, orthogonalise(torch.stack(updates)), strict=True):
                    p.mul_(1 - lr * group["weight_decay"]).add_(update, alpha=-lr * scale)


def orthogonalise(matrices: Tensor) -> Tensor:
    """(N, rows, columns) -> about the nearest semi-orthogonal matrices (singular values 0.7 to 1.2), by Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.float().mT if tall else matrices.float()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)
