"""Training under differential privacy, patient by patient: DP-SGD (Abadi et al. 2016, arXiv 1607.00133), clipping by Opacus (Yousefpour et al. 2021, arXiv 2109.12298).

In every step each patient takes part by a coin of their own, with one sample; each one's gradient is clipped, and the sum gets normal noise. Patients come one at a time, so any network
and loss will do that treats a sample as if it were alone. Coins and noise come from a secret that stays in the study: whoever knew it could take the noise off again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from echosynth.randomness import numpy_rng

INNER = ("blocks.", "modulation.")  # of a Denoiser


def chance(batch_size: int, patients: int) -> float:
    """With which each of `patients` takes part in a step, so that `batch_size` do on average."""
    return min(batch_size / patients, 1.0)


@dataclass(frozen=True)
class Private:
    """How one training is made private. `name` is unlike that of any other training with this secret: no noise is used twice."""

    noise: float  # standard deviation of the noise, as a multiple of `clip`
    clip: float  # norm to which a patient's gradient is clipped
    patients: int
    batch_size: int  # patients a step, on average
    secret: int
    name: str
    parameters: Literal["all", "ends"] = "all"

    @property
    def rate(self) -> float:
        """The chance of a patient to take part in a step."""
        return chance(self.batch_size, self.patients)

    def choose(self, model: nn.Module) -> None:
        """Lets only the parameters of `model` learn that are to: with "ends" those that are not inside its blocks, nor modulate them.

        The noise in the direction of each parameter is the same, so what fewer parameters learn is drowned by less of it.
        """
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self.parameters == "all" or not name.startswith(INNER))

    def drawn(self, step: int) -> np.ndarray:
        """Numbers of the patients who take part in a step; perhaps none."""
        return np.flatnonzero(self._rng("coins", step).random(self.patients) < self.rate)

    def batch(self, sample: Callable[[int, np.random.Generator], Any]) -> Callable[[range], list]:
        """The `batch` that `fit` wants: a list with (patient, `sample(patient, rng)`, a batch of one) for each patient drawn."""

        def batch(samples: range) -> list[tuple[int, Any]]:
            step = samples.start // self.batch_size
            return [(int(patient), sample(int(patient), self._rng(f"sample of patient {patient}", step))) for patient in self.drawn(step)]

        return batch

    def backward(self, module: nn.Module, batch: list[tuple[int, Any]], rng: torch.Generator, step: int) -> dict[str, Tensor]:
        """Leaves the noisy mean gradient over the patients in `batch` in the parameters of `module`. The noise is the same on every device.

        `rng` and the global generator start anew for each patient, from the secret: with one stream, or a seed that is
        known, a patient who joins would change the draws of those who come later, and no clipping bounds that.

        Returns:
            Means over the patients of what `module` returns of each, and "patients", their number. With none, that alone.
        """
        from opacus.optimizers import DPOptimizer

        parameters = [p for p in module.parameters() if p.requires_grad]
        optimizer = DPOptimizer(torch.optim.SGD(parameters, lr=0.0), noise_multiplier=self.noise, max_grad_norm=self.clip, expected_batch_size=self.batch_size)
        returned: list[dict[str, Tensor]] = []
        for p in parameters:
            p.summed_grad = torch.zeros_like(p)
        for patient, one in batch:
            rng.manual_seed(int(self._rng(f"draws of patient {patient}", step).integers(2**63)))
            torch.manual_seed(rng.initial_seed())
            values = module(one, rng)
            values["loss"].backward()
            returned.append({key: torch.as_tensor(value).detach() for key, value in values.items()})
            for p in parameters:
                p.grad_sample, p.grad = (torch.zeros_like(p) if p.grad is None else p.grad)[None], None
            optimizer.clip_and_accumulate()
        noise = self._rng("noise", step)
        for p in parameters:
            drawn = torch.from_numpy(noise.standard_normal(p.shape, dtype=np.float32)).to(p.device)
            p.grad = (p.summed_grad + self.noise * self.clip * drawn) / (self.rate * self.patients)
            p.grad_sample = p.summed_grad = None
        means = {key: torch.stack([one[key].float() for one in returned]).mean() for key in (returned[0] if returned else ())}
        return means | {"patients": torch.tensor(float(len(returned)))}

    def _rng(self, what: str, step: int) -> np.random.Generator:
        return numpy_rng(self.secret, f"private {what}, {self.name}", step)
