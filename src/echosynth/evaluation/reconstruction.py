"""What the autoencoder alone costs: the EF that a regressor reads from clips that went through it and back, beside the one it reads from the clips themselves."""

from pathlib import Path

import numpy as np

from echosynth.cohort.echonet import Cohort
from echosynth.cohort.video import read_clip, to_square
from echosynth.cores import each
from echosynth.metrics.temporal import resample
from echosynth.networks.autoencoder import Autoencoder, decode_clip, encode_clip
from echosynth.networks.base import Network
from echosynth.networks.regressor import predict_ef
from echosynth.progress import progress


def ef_of_reconstructions(real: Cohort, autoencoder: Autoencoder, regressor: Network, fps: float, clips: int) -> dict[str, float]:
    """{"ef_bias", "ef_mae"}: mean and mean absolute difference of the readings, in points of EF, over at most `clips` TEST clips at `fps` (or a clip's own rate, where that is lower).

    Raises InputError when a video cannot be read.
    """
    names = real.split("TEST")["name"].to_numpy()
    chosen = names[np.unique(np.linspace(0, len(names) - 1, clips).astype(int))]

    def difference(path: Path) -> float:
        whole, own = read_clip(path)
        clip, rate = resample(to_square(whole), own, fps), min(own, fps)
        again = decode_clip(autoencoder, encode_clip(autoencoder, clip))
        return predict_ef(regressor, again, rate) - predict_ef(regressor, clip, rate)

    found = []
    with progress("EF of reconstructions", len(chosen)) as advance:
        for one in each(difference, [real.path(name) for name in chosen], autoencoder, regressor):
            found.append(one)
            advance()
    return {"ef_bias": float(np.mean(found)), "ef_mae": float(np.mean(np.abs(found)))}
