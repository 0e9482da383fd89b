"""The segmentation network: shapes, sizes of clips, files."""

import numpy as np
import pytest
import torch

from echosynth.errors import InputError
from echosynth.networks.segmenter import Segmenter, SegmenterConfig, segment

SMALL = SegmenterConfig(size=32, width=8)


@pytest.fixture
def segmenter():
    torch.manual_seed(0)
    return Segmenter(SMALL).eval()


def test_a_logit_for_every_pixel(segmenter):
    logits = segmenter(torch.rand(3, 1, 32, 32) * 2 - 1)
    assert logits.shape == (3, 32, 32) and logits.dtype == torch.float32
    assert Segmenter(SegmenterConfig())(torch.zeros(1, 1, 112, 112)).shape == (1, 112, 112)


def test_a_frame_reads_the_same_alone_and_in_a_batch(segmenter):
    frames = torch.rand(4, 1, 32, 32) * 2 - 1
    torch.testing.assert_close(segmenter(frames)[2:3], segmenter(frames[2:3]), rtol=1e-5, atol=1e-5)


def test_every_weight_learns(segmenter):
    segmenter.train()(torch.rand(2, 1, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in segmenter.parameters())


def test_a_pixel_sees_far(segmenter):
    """The whole heart decides where its cavity is: what lies 12 pixels away has its say."""
    frames = torch.zeros(1, 1, 32, 32, requires_grad=True)
    segmenter(frames)[0, 4, 4].backward()
    assert frames.grad[0, 0, 16, 16] != 0


@pytest.mark.parametrize("shape", [(1, 112, 112), (5, 32, 32), (70, 40, 64)])
def test_any_clip_gives_probabilities_and_always_the_same(segmenter, shape):
    clip = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = segment(segmenter, clip)
    assert found.shape == (shape[0], 32, 32) and found.dtype == np.float32 and 0 <= found.min() < found.max() <= 1
    assert (segment(segmenter, clip) == found).all()


def test_saved_and_opened_it_finds_the_same(segmenter, tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    segmenter.save_pretrained(tmp_path)
    assert (segment(Segmenter.from_pretrained(tmp_path), clip) == segment(segmenter, clip)).all()
    (tmp_path / "config.json").write_text('{"size": 30}')
    with pytest.raises(InputError, match="not a saved Segmenter"):
        Segmenter.from_pretrained(tmp_path)
