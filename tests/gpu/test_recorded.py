"""Training steps replayed as a CUDA graph (training/recorded.py). `make test-gpu` runs these; the other tests are of the CPU."""

from functools import partial

import numpy as np
import pytest
import torch

from echosynth.networks.denoiser import Denoiser, DenoiserConfig
from echosynth.training.fit import Training, fit
from echosynth.training.generator import generator_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CONFIG = DenoiserConfig(channels=2, size=4, bands=(1, 1, 2, 4), dim=32, depth=2, heads=2, guidance=1.5)


def batch(samples: range) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(samples.start)
    data = torch.from_numpy(rng.standard_normal((len(samples), 8, 2, 4, 4), dtype=np.float32))
    known = torch.zeros(len(samples), 8, dtype=torch.bool)
    known[::2, 0] = True
    return {"data": data, "labels": torch.full((len(samples), 1), 0.5), "weight": (~known).float(), "anchor": data[:, 3], "mask": known}


def trained(folder, steady: bool, steps: int) -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    training = Training(steps=steps, batch_size=8, learning_rate=1e-3, muon_learning_rate=0.01, precision="fp32")
    fit(model, partial(generator_loss, slow=1.0, shortcuts=0.25), batch, training, folder, 0, "recorded", steady=steady)
    return model


def test_a_recorded_step_does_what_the_step_does(tmp_path):
    eager, recorded = trained(tmp_path / "eager", False, 6), trained(tmp_path / "recorded", True, 6)
    for one, other in zip(eager.parameters(), recorded.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
