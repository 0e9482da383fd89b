"""Two protocols side by side: the calibrated screen, and the filter as published. Both judge every sample; one of them decides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

from torch import Tensor

from echosynth.privacy.published import PublishedScreen
from echosynth.privacy.screen import Screen

Protocol = Literal["calibrated", "paper"]


class Verdicts(NamedTuple):
    """Of one sample. `score` and `p` are the calibrated screen's, over all frames that it looks at; `similarity` is the published filter's, of the first frame."""

    score: float
    p: float
    calibrated: bool  # kept by the calibrated screen
    similarity: float
    published: bool  # kept by the published filter


@dataclass(frozen=True)
class Protocols:
    """What the stage reid has calibrated."""

    calibrated: Screen
    published: PublishedScreen

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Opens both; raises InputError when one is not there or broken."""
        return cls(Screen.load(folder), PublishedScreen.load(folder))

    def judge(self, embeddings: Tensor, kind: Literal["image", "video"]) -> Verdicts:
        """The verdicts on one sample, embeddings (T, D) of the frames that the calibrated screen looks at (`Screen.looked_at`)."""
        calibrated = self.calibrated.verdict(embeddings, kind)
        published = self.published.screen(embeddings[:1].cpu().numpy())
        return Verdicts(float(calibrated.score), float(calibrated.p), bool(calibrated.kept), float(published.similarity[0]), bool(published.kept[0]))
