"""Which class a configuration is of: ours, or the paper's."""

from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig
from echosynth.networks.base import NetworkConfig
from echosynth.networks.denoiser import Denoiser, DenoiserConfig
from echosynth.networks.paper_config import PaperGeneratorConfig, PaperRegressorConfig, PaperReidConfig
from echosynth.networks.regressor import Regressor, RegressorConfig
from echosynth.networks.reid import ReidConfig, ReidEncoder
from echosynth.networks.resnet import PaperRegressor, Siamese


def kind_of(config: NetworkConfig) -> type:
    """The network that this is a configuration of. diffusers is imported only for one of the paper's: it takes seconds."""
    light = {AutoencoderConfig: Autoencoder, DenoiserConfig: Denoiser, ReidConfig: ReidEncoder, RegressorConfig: Regressor}
    light |= {PaperReidConfig: Siamese, PaperRegressorConfig: PaperRegressor}
    if type(config) in light:
        return light[type(config)]
    from echosynth.networks import paper

    if isinstance(config, PaperGeneratorConfig):
        return paper.PaperImageModel if config.frames == 1 else paper.PaperVideoModel
    return paper.PaperAutoencoder
