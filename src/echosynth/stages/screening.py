"""Screening of clips that lie in a folder now: the verb `screen`. The clips are encoded and judged as a copy would be found, whatever was screened when they were made."""

from pathlib import Path

import pandas as pd
import torch

from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.cohort.video import read_clip, to_square
from echosynth.cores import each
from echosynth.files import PRIVATE_FILE, atomic_file
from echosynth.metrics.temporal import resample
from echosynth.networks.autoencoder import encode_clip
from echosynth.privacy.protocols import Protocol, Protocols
from echosynth.progress import progress
from echosynth.stages.start import trained
from echosynth.study import Study


def screen(study: Study, folder: Path, protocol: Protocol, out: Path) -> pd.DataFrame:
    """Judges every clip of the cohort in `folder` by both protocols and writes one row a clip to `out` (parquet): name, frames, kept (by `protocol`), and the verdicts (privacy/protocols.py).

    The calibrated verdict is of every k-th frame (screen.every) at the rate at which the screen was calibrated, the published one of the first frame. The table is private: scores leak what they compare with.
    Raises InputError when the cohort or the calibration cannot be read.
    """
    own = folder.resolve() == study.folder("synthetic").resolve()
    table = judge_clips(study, read_cohort(study.verified("synthetic") if own else folder, splits=False), protocol)
    with atomic_file(out, PRIVATE_FILE) as partial:
        table.to_parquet(partial, index=False)
    return table


def judge_clips(study: Study, cohort: Cohort, protocol: Protocol) -> pd.DataFrame:
    """The table of `screen`, written nowhere."""
    protocols = Protocols.load(study.verified("reid"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    autoencoder, encoder = (trained(study, name, device) for name in ("autoencoder", "reid"))
    size, rows = 8 * study.config.reid.network.size, []

    @torch.inference_mode()
    def judged(name: str) -> dict:
        clip, fps = read_clip(cohort.path(name))
        clip = to_square(resample(clip, fps, study.config.screen.fps), size)
        seen = protocols.calibrated.looked_at(clip)
        verdicts = protocols.judge(encoder.embed(encode_clip(autoencoder, seen).to(device)), "video")
        return {"name": name, "frames": len(clip), "kept": verdicts.published if protocol == "paper" else verdicts.calibrated} | verdicts._asdict()

    with progress("screening", len(cohort.clips)) as advance:
        for row in each(judged, cohort.clips["name"], autoencoder, encoder):
            rows.append(row)
            advance()
    return pd.DataFrame(rows)
