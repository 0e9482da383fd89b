"""ResNet-50 and R(2+1)D-18 have the sizes and the weight names of torchvision's, so that its state dicts fit."""

import torch
from torch import nn

from echosynth.networks.paper_config import PaperReidConfig
from echosynth.networks.resnet import R2Plus1D18, ResNet50, Siamese


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_sizes_are_torchvisions():
    with torch.device("meta"):
        assert parameters(ResNet50()) == 25_557_032
        assert parameters(R2Plus1D18()) == 31_505_325


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        image, video = ({name: tuple(value.shape) for name, value in network.state_dict().items()} for network in (ResNet50(), R2Plus1D18()))
    assert len(image) == 320 and len(video) == 224
    assert image["layer1.0.downsample.0.weight"] == (256, 64, 1, 1) and image["layer4.2.conv3.weight"] == (2048, 512, 1, 1) and image["layer3.5.bn2.running_var"] == (256,)
    assert video["stem.0.weight"] == (45, 3, 1, 7, 7) and video["layer2.0.conv1.0.0.weight"] == (230, 64, 1, 3, 3) and video["layer2.0.conv2.0.3.weight"] == (128, 230, 3, 1, 1)
    assert video["layer4.1.conv2.1.num_batches_tracked"] == () and video["layer3.0.downsample.0.weight"] == (256, 128, 1, 1, 1)


@torch.no_grad()
def test_outputs():
    torch.manual_seed(0)
    siamese = Siamese(PaperReidConfig()).eval()
    first, second = torch.randn(2, 3, 4, 14, 14)
    features = siamese.features(first)
    assert features.shape == (3, 128) and features.min() > 0 and features.max() < 1
    torch.testing.assert_close(siamese.embed(first) @ siamese.embed(first).T, torch.corrcoef(features), atol=1e-5, rtol=0)
    assert torch.equal(siamese(first, second), siamese(second, first))
    torch.testing.assert_close(siamese(first, first), siamese.fc_end.bias.expand(3))
    assert R2Plus1D18(outputs=1).eval()(torch.randn(1, 3, 8, 32, 32)).shape == (1, 1)
