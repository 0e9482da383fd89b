"""Toy clips for tests: a dark ellipse that beats with a known EF on bright noisy ground."""

import numpy as np


def beating_ellipse(ef: float, rng: np.random.Generator, frames: int = 64, fps: float = 32.0, size: int = 112, heart_rate: float | None = None, noise: float = 30.0) -> np.ndarray:
    """A clip uint8 (T, size, size) whose ellipse of revolution has a volume, length x width^2, that falls by `ef` percent and rises again every beat."""
    heart_rate = rng.uniform(50, 100) if heart_rate is None else heart_rate
    phase = 2 * np.pi * (np.arange(frames) / fps * heart_rate / 60 + rng.uniform())
    volume = 1 - ef / 100 * (0.5 - 0.5 * np.cos(phase))
    scale = volume ** (1 / 3)
    centre, radii, tilt = size * rng.uniform(0.44, 0.56, 2), size * rng.uniform(0.16, 0.26) * np.array([1.0, rng.uniform(0.55, 0.75)]), rng.uniform(-0.3, 0.3)
    y, x = np.mgrid[:size, :size].astype(np.float32) + 0.5
    along, across = (y - centre[0]) * np.cos(tilt) + (x - centre[1]) * np.sin(tilt), (x - centre[1]) * np.cos(tilt) - (y - centre[0]) * np.sin(tilt)
    distance = np.sqrt((along / radii[0]) ** 2 + (across / radii[1]) ** 2)
    edge = 1 / (1 + np.exp(-(distance[None] - scale[:, None, None]) * radii.mean() / 1.5))
    ground = 25 + 110 * edge * rng.uniform(0.8, 1.2)
    return np.clip(ground + noise * rng.standard_normal((frames, size, size), np.float32) * (0.2 + 0.8 * edge), 0, 255).astype(np.uint8)
