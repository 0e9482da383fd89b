"""Randomness by counter: sample i of a stream is the same whatever was drawn before it, in any order, by any process."""

import hashlib

import numpy as np
import torch

_LIMIT = 2**64


def numpy_rng(seed: int, stream: str, *counters: int) -> np.random.Generator:
    """A generator that depends only on `seed`, the name of the stream and up to three counters (Philox 4x64, Salmon et al. 2011)."""
    assert len(counters) <= 3
    key = int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "little")
    # Word 0 of the counter is what Philox advances while it draws, so ours go above it.
    counter = [0, *(c % _LIMIT for c in counters), *([0] * (3 - len(counters)))]
    return np.random.Generator(np.random.Philox(key=np.array([seed % _LIMIT, key], np.uint64), counter=np.array(counter, np.uint64)))


def normal(seed: int, stream: str, *counters: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal float32 noise of `shape` for one sample, on the CPU so that every device starts from the same bytes."""
    return torch.from_numpy(numpy_rng(seed, stream, *counters).standard_normal(shape, dtype=np.float32))


def normal_like(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Standard normal float32 noise of the shape of `x`, drawn on the device of `rng` and put where `x` is."""
    return torch.randn(x.shape, generator=rng, device=rng.device).to(x.device)


def torch_rng(seed: int, stream: str, *counters: int) -> torch.Generator:
    """A torch CPU generator seeded by counter, for code that draws through torch."""
    return torch.Generator().manual_seed(int(numpy_rng(seed, stream, *counters).integers(2**63)))
