"""The autoencoder's loss: what its discriminator and its spectrum see."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig
from echosynth.training.autoencoder import AutoencoderTraining, Discriminator, log_spectrum, make_batch, make_loss, standardise

SMALL = AutoencoderConfig(widths=(8, 8), blocks=(1, 1), decoder_blocks=(1, 1))


def speckle(count: int, smoothed: float = 0.0, seed: int = 0) -> torch.Tensor:
    """(N, 1, 48, 48) in [-1, 1]: a dark and a bright half of log-compressed speckle, `smoothed` by a Gaussian of so many pixels."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(2, count, 48, 48)), (0, 0, 1.2, 1.2))
    grey = 0.12 * np.log(np.square(field).sum(0) / 0.02 + 1e-3) + np.where(np.arange(48) < 24, -0.6, 0.2)
    return torch.from_numpy(np.clip(gaussian_filter(grey, (0, smoothed, smoothed)), -1, 1)).float()[:, None]


def test_the_discriminator_soon_tells_speckle_from_a_smoothed_picture():
    torch.manual_seed(0)
    model = Discriminator(width=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(40):
        scores = model(torch.cat([speckle(8, 0.0, step), speckle(8, 0.6, step)]))
        loss = F.relu(1 - scores[:8]).mean() + F.relu(1 + scores[8:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        real, smooth = model(speckle(8, 0.0, 1000)).mean(), model(speckle(8, 0.6, 1000)).mean()
    assert real > 0.5 and smooth < -0.5


def test_the_spectrum_misses_the_energy_that_smoothing_takes():
    real = speckle(4)
    losses = [float((log_spectrum(speckle(4, sigma)) - log_spectrum(real)).abs().mean()) for sigma in (0.0, 0.4, 0.8, 1.2)]
    assert losses[0] == 0 and losses == sorted(losses) and losses[1] > 0.01
    other = float((log_spectrum(speckle(4, seed=1)) - log_spectrum(real)).abs().mean())
    assert other < losses[-1]  # grains elsewhere are a smaller fault than none


def test_the_discriminator_joins_when_it_is_told_to_and_each_side_learns_from_its_own_part():
    torch.manual_seed(0)
    model = AutoencoderTraining(Autoencoder(SMALL), freeze_encoder=True)
    model.train()
    loss = make_loss(0.1, 0.05, adversarial_start=0.5)
    early, late = (loss(model, {"frames": speckle(2), "done": done}, torch.Generator().manual_seed(0)) for done in (0.4, 0.6))
    assert "adversarial" not in early and "discriminator" in late
    late["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.discriminator.parameters())
    assert not any(p.requires_grad or p.grad is not None for p in model.autoencoder.encoder.parameters())
    # What the discriminator is pulled by is its own loss alone, not the decoder's wish to fool it.
    own = {name: p.grad.clone() for name, p in model.discriminator.named_parameters()}
    model.zero_grad()
    again = loss(model, {"frames": speckle(2), "done": 0.6}, torch.Generator().manual_seed(0))
    (0.05 * again["discriminator"]).backward()
    for name, p in model.discriminator.named_parameters():
        torch.testing.assert_close(p.grad, own[name])


def test_batches_are_a_function_of_the_counter_and_latents_get_unit_variance():
    frames = ((speckle(40)[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
    batch = make_batch(frames, 8, 10, seed=3)
    whole, parts = batch(range(16, 24)), [batch(range(16, 20)), batch(range(20, 24))]
    assert torch.equal(whole["frames"], torch.cat([part["frames"] for part in parts])) and whole["done"] == 0.2
    torch.manual_seed(0)
    autoencoder = Autoencoder(SMALL).eval()
    standardise(autoencoder, frames)
    with torch.no_grad():
        latents = autoencoder.encode(torch.from_numpy(frames)[:, None].float() / 127.5 - 1)
    torch.testing.assert_close(latents.var((0, 2, 3)), torch.ones(4), rtol=0.02, atol=0.02)
