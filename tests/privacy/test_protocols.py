"""Both protocols judge the same sample, each in its own way."""

import torch
from torch.nn.functional import normalize

from echosynth.privacy.protocols import Protocols
from echosynth.privacy.published import PublishedScreen
from echosynth.privacy.screen import Screen


def test_a_copy_in_a_later_frame_is_seen_by_the_calibrated_screen_alone(tmp_path):
    rng = torch.Generator().manual_seed(0)
    train, held_out, stranger = (normalize(torch.randn(n, 32, generator=rng), dim=1) for n in (60, 40, 5))
    Screen.fit(train, [row[None] for row in held_out], list(range(40)), alpha=0.05).save(tmp_path)
    PublishedScreen.fit(train.numpy(), held_out.numpy()).save(tmp_path)
    protocols = Protocols.load(tmp_path)
    copied = protocols.judge(train[:1], "image")
    assert not copied.calibrated and not copied.published and copied.similarity > 0.999 and copied.p <= 0.05
    later = protocols.judge(torch.cat([stranger[:1], train[:1]]), "video")
    assert not later.calibrated and later.published == protocols.judge(stranger[:1], "image").published
