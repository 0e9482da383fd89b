"""The re-identification encoder: unit vectors, one frame at a time, saved and opened."""

import pytest
import torch

from echosynth.errors import InputError
from echosynth.networks.reid import ReidConfig, ReidEncoder


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return ReidEncoder(ReidConfig()).eval()


def test_unit_vectors(encoder):
    z = encoder.embed(torch.randn(5, 4, 14, 14))
    assert z.shape == (5, 128) and z.dtype == torch.float32
    assert torch.allclose(z.norm(dim=1), torch.ones(5), atol=1e-6)


def test_compact(encoder):
    assert 4e5 < sum(p.numel() for p in encoder.parameters()) < 1.2e6


@torch.inference_mode()
def test_a_frame_does_not_see_its_batch(encoder):
    frames = torch.randn(6, 4, 14, 14)
    for training in (False, True):
        encoder.train(training)
        assert torch.allclose(encoder.embed(frames)[2:3], encoder.embed(frames[2:3]), atol=1e-5)
    encoder.eval()


@torch.inference_mode()
def test_embedding_ignores_autocast(encoder):
    frames = torch.randn(2, 4, 14, 14)
    plain = encoder.embed(frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder.embed(frames), plain) and not torch.equal(encoder(frames), plain)


def test_every_weight_learns(encoder):
    z = encoder(torch.randn(4, 4, 14, 14))
    (z[0] @ z[1] - z[2] @ z[3]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
    encoder.zero_grad()


@torch.inference_mode()
def test_save_and_open(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    frames = torch.randn(3, 4, 14, 14)
    assert torch.equal(ReidEncoder.from_pretrained(tmp_path).embed(frames), encoder.embed(frames))
    (tmp_path / "config.json").write_text('{"widths": [64, 128], "blocks": [1, 1]}')
    with pytest.raises(InputError, match="weight"):
        ReidEncoder.from_pretrained(tmp_path)


def test_other_sizes():
    small = ReidEncoder(ReidConfig(channels=2, size=28, widths=(8, 16, 24), blocks=(1, 1, 1), embedding=12))
    assert small.embed(torch.randn(2, 2, 28, 28)).shape == (2, 12)
