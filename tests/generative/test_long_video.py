"""Continuation: which frames each window is told, and what the whole video is made of."""

import pytest
import torch

from echosynth.generative.long_video import stream_video
from echosynth.generative.samplers import euler
from echosynth.networks.denoiser import Denoiser, DenoiserConfig

CONFIG = DenoiserConfig(channels=2, size=4, bands=(1, 1, 2, 4), dim=16, depth=1, heads=1)


def noise(k: int) -> torch.Tensor:
    return torch.randn(2, 8, 2, 4, 4, generator=torch.Generator().manual_seed(k))


ANCHOR, LABELS = torch.ones(2, 2, 4, 4), torch.tensor([[0.2], [0.7]])


def whole(denoiser, frames: int, **options) -> torch.Tensor:
    return torch.cat(list(stream_video(denoiser, noise, ANCHOR, LABELS, frames, **options)), 1)


class Spy(torch.nn.Module):
    """Predicts a velocity that carries its noise to noise - 1, and known frames as they are; remembers what it was told when it drew a window."""

    config = CONFIG

    def __init__(self):
        super().__init__()
        self.told = []

    def forward(self, x, t, condition):
        if t[0] == 1:
            self.told.append(condition)
        if condition.known is None:
            return torch.ones_like(x)
        return torch.where(condition.mask[:, :, None, None, None], -condition.known, 1.0)


def test_windows_continue_from_exactly_the_frames_before_them():
    spy = Spy()
    video = whole(spy, frames=19, steps=1, overlap=3, sampler=euler)
    assert video.shape == (2, 19, 2, 4, 4)
    first, *later = spy.told
    assert first.known is None and first.mask is None and len(later) == 3
    expected = [noise(0) - 1] + [noise(k)[:, 3:] - 1 for k in (1, 2, 3)]
    torch.testing.assert_close(video, torch.cat(expected, 1)[:, :19])
    for k, condition in enumerate(later):
        end = 8 + 5 * k
        assert condition.mask[:, :3].all() and not condition.mask[:, 3:].any()
        assert torch.equal(condition.known[:, :3], video[:, end - 3 : end])
        assert condition.anchor is ANCHOR and condition.labels is LABELS


def test_an_overlap_past_half_the_window_reaches_into_the_window_before():
    spy = Spy()
    video = whole(spy, frames=12, steps=1, overlap=6, sampler=euler)
    assert torch.equal(spy.told[2].known[:, :6], video[:, 4:10])


@pytest.mark.parametrize("frames", [1, 5, 8, 13])
def test_any_length_and_a_shorter_video_is_the_start_of_a_longer_one(frames):
    torch.manual_seed(0)
    model = Denoiser(CONFIG).eval()
    for layer in model.bands.output:
        torch.nn.init.normal_(layer.weight, std=0.3)
    parts = list(stream_video(model, noise, ANCHOR, LABELS, frames, steps=2, overlap=4))
    assert sum(part.shape[1] for part in parts) == frames
    assert torch.equal(torch.cat(parts, 1), whole(model, 20, steps=2, overlap=4)[:, :frames])


def test_margins_are_thrown_away_but_for_what_the_next_window_fades_from():
    spy = Spy()
    spy.config = CONFIG.model_copy(update={"margin": 1})
    video = whole(spy, frames=14, steps=1, overlap=3, sampler=euler)
    first, *later = noise(0)[:, 1:7] - 1, noise(1)[:, 3:7] - 1, noise(2)[:, 3:7] - 1
    for k, piece in enumerate(later):  # half a cosine over one frame: the mean of both windows
        piece[:, 0] = (piece[:, 0] + noise(k)[:, 7] - 1) / 2
    torch.testing.assert_close(video, torch.cat([first, *later], 1))
    assert torch.equal(spy.told[1].known[:, :3], video[:, 3:6]) and torch.equal(spy.told[2].known[:, :3], video[:, 7:10])
