"""Sealed JSON: a note that was edited, damaged or comes from elsewhere is refused."""

import json

import pytest

from echosynth.errors import InputError
from echosynth.seals import KEY_FILE, make_key, read_key, read_sealed, write_sealed

VALUE = {"b": [1, 2.5, None, True, "é\u2028"], "a": {"x": float("inf"), "y": 1e-300}}


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path)


def test_a_note_comes_back(tmp_path, key):
    write_sealed(tmp_path / "note.json", VALUE, key)
    assert read_sealed(tmp_path / "note.json", key, "restore it") == VALUE
    assert (tmp_path / "note.json").stat().st_mode & 0o777 == 0o600


def test_the_key_is_private_random_and_kept(tmp_path, key):
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert make_key(tmp_path) == read_key(tmp_path) == key and len(key) == 32
    (tmp_path / "other").mkdir()
    assert make_key(tmp_path / "other") != key


def test_every_flipped_bit_of_a_note_is_noticed(tmp_path, key):
    path = tmp_path / "note.json"
    write_sealed(path, {"a": 1, "b": [2.5, "x"]}, key)
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            found = read_sealed(path, key, "restore it")
        except InputError as error:
            assert str(path) in str(error) and "restore it" in str(error)
        else:
            assert found == {"a": 1, "b": [2.5, "x"]}  # white space of another kind


def test_an_edited_note_and_one_of_another_key_are_told_apart(tmp_path, key):
    path = tmp_path / "note.json"
    write_sealed(path, VALUE, key)
    with pytest.raises(InputError, match=r"not sealed with .*one of the two is of another study"):
        read_sealed(path, make_key(tmp_path.parent), "restore it")
    note = json.loads(path.read_text())
    path.write_text(json.dumps(note | {"b": 3}))
    with pytest.raises(InputError, match="changed since echosynth wrote it; restore it"):
        read_sealed(path, key, "restore it")
    for text in ("{}", "[]", "3", '{"seal": 3}', '{"seal": ""}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"note\.json: "):
            read_sealed(path, key, "restore it")


@pytest.mark.parametrize("text", ["", "00", "zz zz", "00 11 22", "\u00e9"])
def test_a_damaged_key_is_named(tmp_path, text):
    (tmp_path / KEY_FILE).write_text(text)
    with pytest.raises(InputError, match=r"seal\.key: damaged"):
        read_key(tmp_path)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(InputError, match=r"seal\.key: missing"):
        read_key(tmp_path)
