"""The first candidates: which places keep the clip that was released. The drawing is in tests/end_to_end."""

import pandas as pd

from echosynth.stages.unselected import _copy, first_kept


def test_the_first_candidate_that_the_screen_lets_pass_counts():
    rows = [
        (0, 0, "image", True, False),
        (0, 0, "video", True, False),  # kept at once
        (1, 0, "video", True, True),  # another EF, then the right one
        (1, 1, "video", True, False),
        (2, 0, "video", False, False),  # rejected by the screen: no candidate
        (2, 1, "video", True, False),
        (3, 1, "video", True, False),  # rows may come in any order
        (3, 0, "video", True, True),
    ]
    table = pd.DataFrame(rows, columns=["slot", "attempt", "kind", "kept", "missed_ef"])
    assert first_kept(table).to_dict() == {0: True, 1: False, 2: True, 3: False}


def test_a_clip_of_another_synthesis_is_replaced(tmp_path):
    source, target = tmp_path / "now.avi", tmp_path / "Videos" / "now.avi"
    target.parent.mkdir()
    target.write_text("left by an interrupted call")
    source.write_text("the clip")
    _copy(source, target)
    assert target.read_text() == "the clip"
