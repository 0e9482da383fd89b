"""The autoencoder of frames: shapes, what its bytes depend on, and the losses it is trained with."""

import numpy as np
import pytest
import torch

from echosynth.cohort.video import write_clip
from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig, decode_clip, encode_clip, to_grey, to_unit
from echosynth.networks.precision import uses_bf16
from echosynth.training.autoencoder import AutoencoderTraining, draw_frames, log_spectrum, make_batch, make_loss, standardise
from echosynth.training.fit import Training, fit

SMALL = AutoencoderConfig(widths=(8, 16), blocks=(1, 1), decoder_blocks=(1, 1))


def speckle(frames: int, seed: int = 0) -> np.ndarray:
    """Frames (T, 48, 48) of blobs of random brightness."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (frames, 12, 12)), np.ones((4, 4))).astype(np.uint8)


def small(training: bool = False) -> Autoencoder:
    torch.manual_seed(0)
    network = Autoencoder(SMALL)
    for p in network.parameters():
        if p.ndim == 4:
            torch.nn.init.normal_(p, std=0.1)
    return network.train(training)


def test_shapes_for_any_multiple_of_eight():
    network = small()
    for height, width in ((112, 112), (48, 64)):
        latents = network.encode(torch.zeros(2, 1, height, width))
        assert latents.shape == (2, 4, height // 8, width // 8)
        assert network.decode(latents).shape == (2, 1, height, width)


def test_grey_levels_survive_the_way_to_the_network_and_back():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert torch.equal(to_grey(to_unit(levels)), levels)
    assert to_grey(torch.tensor([-3.0, 3.0]).reshape(2, 1, 1, 1)).flatten().tolist() == [0, 255]


def test_bytes_of_a_frame_do_not_depend_on_the_length_of_the_clip():
    network, clip = small(), speckle(70)
    latents = encode_clip(network, clip)
    assert latents.shape == (70, 4, 6, 6) and latents.dtype == torch.float32
    assert torch.equal(encode_clip(network, clip[:33]), latents[:33])
    again = decode_clip(network, latents)
    assert again.shape == clip.shape and again.dtype == np.uint8
    assert np.array_equal(decode_clip(network, latents[:5]), again[:5])


def test_training_batches_have_unit_variance():
    latents = small(training=True).encode(to_unit(torch.from_numpy(speckle(16))))
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(latents.var((0, 2, 3), unbiased=False), torch.ones(4), atol=1e-3)


def test_standardise_sets_the_statistics_that_encode_uses():
    network, frames = small(), speckle(100)
    standardise(network, frames)
    latents = encode_clip(network, frames, "fp32")
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3)


def test_saved_and_opened_it_is_the_same(tmp_path):
    network, clip = small(), speckle(3)
    network.save_pretrained(tmp_path)
    assert torch.equal(encode_clip(Autoencoder.from_pretrained(tmp_path), clip), encode_clip(network, clip))


def test_log_spectrum_of_a_cosine_peaks_at_its_frequency():
    """A cosine of period 4 pixels along x and amplitude 1 puts sum(window) / 2 at frequency 16 / 4 of each patch, and its energy nowhere but there and beside it."""
    wave = torch.cos(2 * torch.pi * torch.arange(48) / 4).expand(1, 1, 48, 48)
    spectrum = log_spectrum(wave)
    assert spectrum.shape == (1, 25, 16, 9)
    assert (spectrum.flatten(2).argmax(-1) == 4).all()  # row 0, column 4
    assert torch.allclose(spectrum[..., 0, 4].exp(), torch.tensor(8.0**2 / 2), atol=0.02)


def test_log_spectrum_tells_smooth_from_speckled_wherever_the_grains_are():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 1, 48, 48, generator=generator) * 0.3 for _ in range(2))
    smooth = torch.nn.functional.avg_pool2d(a, 3, 1, 1)
    distance = lambda x, y: (log_spectrum(x) - log_spectrum(y)).abs().mean()  # noqa: E731
    assert distance(a, b) < 0.7 * distance(a, smooth)
    assert (a - b).square().mean() > 1.5 * (a - smooth).square().mean()


def test_each_of_the_two_players_gets_the_gradient_of_its_own_loss():
    """The gradient of the one total is, for the autoencoder, that of its loss with the discriminator fixed, and the other way round."""
    model = AutoencoderTraining(small(training=True), freeze_encoder=False)
    batch = {"frames": to_unit(torch.from_numpy(speckle(4))), "done": 1.0}
    weights = [model.autoencoder.decoder[-2].weight, model.discriminator.layers[1].weight]

    def gradients(adversarial: float, key: str) -> list[torch.Tensor | None]:
        values = make_loss(0.0, adversarial, 0.5)(model, batch, torch.Generator().manual_seed(0))
        return list(torch.autograd.grad(values[key], weights, allow_unused=True))

    generator, discriminator = gradients(1.0, "adversarial"), gradients(1.0, "discriminator")
    assert generator[1] is None and discriminator[0] is None
    pixels, total = gradients(0.0, "loss"), gradients(0.25, "loss")
    assert torch.allclose(total[0], pixels[0] + 0.25 * generator[0], atol=1e-5)
    assert torch.allclose(total[1], 0.25 * discriminator[1], atol=1e-5)


def test_the_discriminator_learns_from_the_start_and_the_decoder_heeds_it_late():
    model = AutoencoderTraining(small(training=True), freeze_encoder=False)
    batch = {"frames": to_unit(torch.from_numpy(speckle(4))), "done": 0.4}
    early, late = (make_loss(0.1, 1.0, start)(model, batch, torch.Generator()) for start in (0.5, 0.4))
    assert "discriminator" in early and "adversarial" not in early and "adversarial" in late
    assert "discriminator" not in make_loss(0.1, 0.0, 0.0)(model, batch, torch.Generator())


@pytest.mark.parametrize("frozen", [True, False])
def test_training_learns_and_a_frozen_encoder_stays(tmp_path, frozen):
    frames = speckle(64)
    model = AutoencoderTraining(small(), frozen)
    standardise(model.autoencoder, frames)
    before = {name: value.clone() for name, value in model.autoencoder.state_dict().items() if not name.startswith("decoder")}
    config = Training(steps=30, batch_size=8, learning_rate=3e-3, ema=0.9, log_every=5)
    fit(model, make_loss(0.1, 0.05, 0.5), make_batch(frames, 8, 30, 0), config, tmp_path, 0, "autoencoder")
    same = [torch.equal(value, model.autoencoder.state_dict()[name]) for name, value in before.items()]
    assert all(same) if frozen else not any(same)
    first, *_, last = (float(line.split('"l1": ')[1].split(",")[0]) for line in (tmp_path / "training.jsonl").read_text().splitlines())
    assert last < 0.9 * first


def test_frames_are_drawn_evenly_and_are_those_of_the_clips(tmp_path):
    videos = []
    for k, length in enumerate((30, 4)):
        clip = np.repeat(np.arange(length, dtype=np.uint8)[:, None, None] * 3 + 100 * k, 48, 1).repeat(48, 2)
        write_clip(tmp_path / f"{k}.avi", clip, 50)
        videos.append((tmp_path / f"{k}.avi", length))
    frames = draw_frames(videos, 16, 48, 0)
    levels = frames.reshape(len(frames), -1).mean(1)
    assert (levels < 95).sum() == 8 and (levels > 95).sum() == 4
    assert len(np.unique(levels.round())) == 12
    assert np.array_equal(frames, draw_frames(videos, 16, 48, 0)) and not np.array_equal(frames[:8], draw_frames(videos, 16, 48, 1)[:8])


def test_batches_depend_on_the_counter_alone_and_keep_black_black():
    frames = speckle(10)
    frames[:, :8] = 0
    batch = make_batch(frames, 4, 100, 0)
    together, alone = batch(range(40, 44)), batch(range(42, 43))
    assert torch.equal(together["frames"][2:3], alone["frames"])
    assert together["done"] == 0.1 and together["frames"].shape == (4, 1, 48, 48)
    assert (together["frames"][:, :, :8] == -1).all() and together["frames"].max() <= 1


def test_precision():
    assert uses_bf16("cpu", "bf16") and not uses_bf16("cpu", "fp32")
    assert uses_bf16("cpu") == (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
