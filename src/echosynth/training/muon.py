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
                for p in parameters:
                    if not self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                gradients, momenta = [p.grad for p in parameters], [self.state[p]["momentum_buffer"] for p in parameters]
                torch._foreach_lerp_(momenta, gradients, 1 - momentum)
                updates = orthogonalise(torch.stack(torch._foreach_lerp(gradients, momenta, momentum)))
                torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
                torch._foreach_add_(parameters, updates.unbind(), alpha=-lr * max(1, shape[0] / shape[1]) ** 0.5)


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
