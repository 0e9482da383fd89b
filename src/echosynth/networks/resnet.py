"""ResNet-50 (He et al. 2016) and R(2+1)D-18 (Tran et al. 2018), with the names that torchvision gives their weights, so that published state dicts fit; on the first the siamese network, on the second the EF regressor."""

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echosynth.cohort.video import to_square
from echosynth.networks.base import Network, NetworkConfig
from echosynth.networks.paper_config import PaperRegressorConfig, PaperReidConfig


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions about a shortcut; the 3x3 carries the stride (torchvision's ResNet "v1.5")."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        change = stride > 1 or inputs != 4 * width
        self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)) if change else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.bn1(self.conv1(x)))
        h = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(h)))))
        return self.relu(h + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """(N, channels, h, w) -> (N, outputs)."""

    def __init__(self, channels: int = 3, outputs: int = 1000):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for number, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
            layer = [Bottleneck(inputs if k == 0 else 4 * width, width, 2 if k == 0 and number > 1 else 1) for k in range(blocks)]
            self.add_module(f"layer{number}", nn.Sequential(*layer))
            inputs = 4 * width
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        h = self.layer4(self.layer3(self.layer2(self.layer1(h))))
        return self.fc(self.avgpool(h).flatten(1))


class Siamese(Network):
    """The published re-identification: sigmoid features of latent frames; whether two are of one video is a linear function of their absolute difference."""

    Config: ClassVar[type[NetworkConfig]] = PaperReidConfig
    config: PaperReidConfig

    def __init__(self, config: PaperReidConfig):
        super().__init__(config)
        self.model, self.fc_end = ResNet50(config.channels, config.embedding), nn.Linear(config.embedding, 1)

    def features(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, D) in (0, 1)."""
        return self.model(latents).float().sigmoid()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits (N,) of both being of one video."""
        return self.fc_end((self.features(first) - self.features(second)).abs())[:, 0]

    def embed(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, D) of mean 0 and unit length: products are Pearson's correlations of the features, which the published filter compares. In float32."""
        with torch.autocast(latents.device.type, enabled=False):
            features = self.features(latents.float())
            return F.normalize(features - features.mean(1, keepdim=True), dim=1)


def _factorised(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3x3 convolution as space, then time, with as many parameters."""
    middle = inputs * outputs * 27 // (inputs * 9 + 3 * outputs)
    space = nn.Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    return nn.Sequential(space, nn.BatchNorm3d(middle), nn.ReLU(inplace=True), nn.Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False))


class BasicBlock3d(nn.Module):
    """Two factorised convolutions about a shortcut. Both have the middle width that the first has, as torchvision has it."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Sequential(_factorised(inputs, outputs, stride), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))
        middle = self.conv1[0][0].out_channels
        second = _factorised(outputs, outputs)
        second[0], second[1] = nn.Conv3d(outputs, middle, (1, 3, 3), 1, (0, 1, 1), bias=False), nn.BatchNorm3d(middle)
        second[3] = nn.Conv3d(middle, outputs, (3, 1, 1), 1, (1, 0, 0), bias=False)
        self.conv2 = nn.Sequential(second, nn.BatchNorm3d(outputs))
        self.relu = nn.ReLU(inplace=True)
        change = stride > 1 or inputs != outputs
        self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)) if change else None

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv2(self.conv1(x)) + (x if self.downsample is None else self.downsample(x)))


class R2Plus1D18(nn.Module):
    """Clips (N, 3, T, H, W) -> (N, outputs)."""

    def __init__(self, outputs: int = 400):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(45),
            nn.ReLU(inplace=True),
            nn.Conv3d(45, 64, (3, 1, 1), 1, (1, 0, 0), bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
        )
        inputs = 64
        for number, width in enumerate((64, 128, 256, 512), 1):
            self.add_module(f"layer{number}", nn.Sequential(BasicBlock3d(inputs, width, 2 if number > 1 else 1), BasicBlock3d(width, width, 1)))
            inputs = width
        self.avgpool, self.fc = nn.AdaptiveAvgPool3d(1), nn.Linear(inputs, outputs)

    def features(self, x: Tensor) -> Tensor:
        """(N, 512), before the last layer."""
        h = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.avgpool(h).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


class PaperRegressor(Network):
    """Clips (B, T, S, S) in [-1, 1] -> EF (B,) in [0, 1], with R(2+1)D-18. The grey levels' mean and standard deviation over the training clips belong to the network; missing frames have the mean."""

    Config: ClassVar[type[NetworkConfig]] = PaperRegressorConfig
    config: PaperRegressorConfig

    def __init__(self, config: PaperRegressorConfig):
        super().__init__(config)
        self.model = R2Plus1D18(1)
        nn.init.constant_(self.model.fc.bias, 55.6)  # percent: the mean EF of EchoNet-Dynamic, where its training starts from
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("sd", torch.ones(()))

    def _channels(self, clips: Tensor) -> Tensor:
        return ((clips - self.mean) / self.sd)[:, None].expand(-1, 3, -1, -1, -1)

    def features(self, clips: Tensor) -> Tensor:
        """(B, T, S, S) -> (B, 512)."""
        return self.model.features(self._channels(clips))

    def forward(self, clips: Tensor) -> Tensor:
        return self.model(self._channels(clips))[:, 0].float() / 100

    def clip_at(self, frames: Tensor, start: int) -> Tensor:
        """The clip (T, S, S) that begins at frame `start` of a video (T', S, S) in [-1, 1]; frames past its end have the mean grey level."""
        c = self.config
        part = frames[start : start + c.frames * c.period : c.period]
        return torch.cat([part, self.mean.cpu().expand(c.frames - len(part), *part.shape[1:])])

    def windows(self, clip: np.ndarray, fps: float, most: int = 0) -> Tensor:
        """What of a video uint8 (T', H, W) is read, (N, T, S, S): every clip there is, or at most `most`, evenly spread. `fps` does not matter here, as published."""
        c, most = self.config, most or self.config.test_clips
        starts = np.arange(max(len(clip) - (c.frames - 1) * c.period, 1))
        if most and len(starts) > most:
            starts = starts[np.linspace(0, len(starts) - 1, most).round().astype(int)]
        frames = torch.from_numpy(to_square(clip, c.size)).float() / 127.5 - 1
        return torch.stack([self.clip_at(frames, int(start)) for start in starts])
