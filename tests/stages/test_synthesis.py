"""Synthesis: which places share a call, and how an interrupted one resumes. The drawing itself is in tests/end_to_end."""

import json

import pytest

from echosynth.seals import make_key
from echosynth.stages.candidates import GPU_GROUP, _groups
from echosynth.stages.journal import Journal


@pytest.mark.parametrize("size", [1, GPU_GROUP])
def test_a_place_has_one_row_whoever_shares_its_call(size):
    for slots in ([0, 1, 2, 9, 17], [17], [9, 1]):
        calls = _groups(slots, size)
        assert all(len(members) == size for members, _ in calls)
        assert sorted(slot for _, row in calls for slot in row) == sorted(slots)
        for members, row in calls:
            assert all(members[i] == slot and i == slot % size for slot, i in row.items())
            assert sum(member != -1 for member in members) == len(row)


def test_a_journal_counts_what_is_whole(tmp_path):
    def clip(slot):
        return tmp_path / f"{slot}.avi"

    key = make_key(tmp_path)
    journal = Journal(tmp_path / "screening.jsonl", clip, key)
    for slot in (4, 2, 7):
        clip(slot).write_bytes(b"frames of %d" % slot)
        journal.finish(slot, 0.5, [{"slot": slot}])
    clip(2).unlink()
    with journal.path.open("a") as file:
        file.write('{"slot": 9, "ro')  # killed in the middle of a line
    clip(9).touch()
    assert list(Journal(journal.path, clip, key).done) == [4, 7]
    assert [json.loads(line)["slot"] for line in journal.path.read_text().splitlines()] == [4, 7]


@pytest.mark.parametrize("damage", ["clip", "row", "line"])
def test_a_journal_names_what_is_damaged_and_does_not_count_it(tmp_path, capsys, damage):
    def clip(slot):
        return tmp_path / f"{slot}.avi"

    key = make_key(tmp_path)
    journal = Journal(tmp_path / "screening.jsonl", clip, key)
    for slot in (0, 1, 2):
        clip(slot).write_bytes(b"frames of %d" % slot)
        journal.finish(slot, 0.5, [{"slot": slot, "score": 0.25}])
    lines = journal.path.read_text().splitlines(keepends=True)
    if damage == "clip":
        clip(1).write_bytes(b"frames of 9")
    elif damage == "row":
        journal.path.write_text(lines[0] + lines[1].replace("0.25", "0.35") + lines[2])
    else:
        journal.path.write_text(lines[0] + lines[1][:-20] + "\n" + lines[2])
    assert list(Journal(journal.path, clip, key).done) == [0, 2]
    said = capsys.readouterr().err.replace("\n", "")
    assert ("1.avi: changed" if damage == "clip" else "line 2: ") in said and "made again" in said
