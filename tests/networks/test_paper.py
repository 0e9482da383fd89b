"""The published networks: their sizes, their folders, what they refuse."""

import pytest
import torch
from diffusers import UNet2DModel

from echosynth.errors import InputError
from echosynth.networks.denoiser import Condition
from echosynth.networks.paper import SMALL, PaperImageModel, PaperVideoModel, autoencoder_kl, image_unet, video_unet


def millions(network: torch.nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def test_sizes_are_the_published_ones():
    with torch.device("meta"):
        assert millions(video_unet()) == pytest.approx(143.8, abs=0.05)
        assert millions(image_unet()) == pytest.approx(70, abs=1)
        assert millions(autoencoder_kl()) == pytest.approx(62, abs=1)


@torch.no_grad()
def test_image_model_is_a_diffusers_folder(tmp_path):
    torch.manual_seed(0)
    model = PaperImageModel(image_unet(SMALL)).eval()
    model.save_pretrained(tmp_path)
    x, t, told = torch.randn(2, 1, 4, 14, 14), torch.tensor([3, 700]), Condition(torch.zeros(2, 0))
    assert torch.equal(PaperImageModel.from_pretrained(tmp_path)(x, t, told), model(x, t, told))
    assert type(UNet2DModel.from_pretrained(tmp_path)) is UNet2DModel
    with pytest.raises(InputError, match="UNetSpatioTemporalConditionModel"):
        PaperVideoModel.from_pretrained(tmp_path)


@torch.no_grad()
def test_video_model_looks_at_the_anchor_and_the_ef():
    torch.manual_seed(0)
    model = PaperVideoModel(video_unet(SMALL)).eval()
    x, t, anchor = torch.randn(1, 4, 4, 14, 14), torch.tensor([500]), torch.randn(1, 4, 14, 14)
    was = model(x, t, Condition(torch.tensor([[0.3]]), anchor))
    assert was.shape == x.shape
    assert (model(x, t, Condition(torch.tensor([[0.8]]), anchor)) - was).abs().max() > 1e-5
    assert (model(x, t, Condition(torch.tensor([[0.3]]), anchor + 1)) - was).abs().max() > 1e-3
    assert model(x, t, Condition(torch.tensor([[torch.nan]]), anchor)).isfinite().all()


def test_what_is_no_such_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a UNet2DModel"):
        PaperImageModel.from_pretrained(tmp_path)
