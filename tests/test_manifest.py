"""What lies in a folder, and what differs from that later."""

import hashlib
import os

import pytest

from echosynth.errors import InputError
from echosynth.manifest import difference, difference_once, differences, files_of, manifest_of, root_hash


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.txt").write_bytes(b"alpha")
    (tmp_path / "inner" / "b.txt").write_bytes(b"beta")
    return tmp_path


def rewrite(path, data, keep_time=True):
    about = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + (0 if keep_time else 1)))


def test_a_manifest_has_every_file_with_size_and_hash(folder):
    manifest = manifest_of(folder)
    assert list(manifest) == ["a.txt", "inner/b.txt"] and manifest["a.txt"]["size"] == 5
    assert manifest["inner/b.txt"]["sha256"] == hashlib.sha256(b"beta").hexdigest()
    assert list(manifest_of(folder, without=("a.txt",))) == ["inner/b.txt"]
    assert list(differences(folder, manifest)) == []


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("a.txt"), os.mkfifo])
def test_what_is_no_file_is_refused_by_name(folder, make):
    make(folder / "inner" / "odd")
    with pytest.raises(InputError, match="inner/odd"):
        list(files_of(folder))


def test_a_change_of_size_or_a_loss_is_seen_without_a_hash(folder):
    manifest = manifest_of(folder)
    rewrite(folder / "a.txt", b"alph")
    (folder / "inner" / "b.txt").unlink()
    assert [tuple(found) for found in differences(folder, manifest)] == [
        ("a.txt", "changed (4 bytes, was 5)"),
        ("inner/b.txt", "missing"),
    ]


def test_bytes_are_hashed_where_the_time_changed_or_all_are_asked_for(folder):
    entry = manifest_of(folder)["a.txt"]
    rewrite(folder / "a.txt", b"alphA")
    assert difference(folder / "a.txt", entry) is None
    assert difference(folder / "a.txt", entry, full=True) == "changed (its bytes are others)"
    rewrite(folder / "a.txt", b"alphA", keep_time=False)
    assert difference(folder / "a.txt", entry) == "changed (its bytes are others)"
    rewrite(folder / "a.txt", b"alpha", keep_time=False)
    assert difference(folder / "a.txt", entry) is None  # another time, the same bytes


def test_a_link_is_no_file_unless_it_may_be_one(folder):
    entry = manifest_of(folder)["a.txt"]
    (folder / "a.txt").rename(folder / "c.txt")
    (folder / "a.txt").symlink_to("c.txt")
    assert difference(folder / "a.txt", entry, full=True) == "not a regular file"
    assert difference(folder / "a.txt", entry, full=True, links=True) is None


def test_once_hashed_a_file_is_hashed_again_when_it_changes(folder, monkeypatch):
    entry = manifest_of(folder)["a.txt"]
    rewrite(folder / "a.txt", b"alphA")
    assert difference_once(folder / "a.txt", entry) == "changed (its bytes are others)"
    rewrite(folder / "a.txt", b"alpha")
    assert difference_once(folder / "a.txt", entry) is None
    monkeypatch.setattr("echosynth.manifest.hash_file", lambda path: pytest.fail("hashed twice"))
    assert difference_once(folder / "a.txt", entry) is None
    monkeypatch.undo()
    rewrite(folder / "a.txt", b"alphA", keep_time=False)
    assert difference_once(folder / "a.txt", entry) == "changed (its bytes are others)"


def test_a_root_hash_follows_names_and_bytes_and_no_times(folder):
    first = root_hash(manifest_of(folder))
    rewrite(folder / "a.txt", b"alpha", keep_time=False)
    assert root_hash(manifest_of(folder)) == first
    (folder / "a.txt").rename(folder / "c.txt")
    assert root_hash(manifest_of(folder)) != first
