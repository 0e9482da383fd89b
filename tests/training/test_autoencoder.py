"""What the autoencoder's discriminator sees; its losses and batches are tested beside the network."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from echosynth.training.autoencoder import Discriminator


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
