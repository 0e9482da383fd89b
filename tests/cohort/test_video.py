"""Videos: what goes in comes out, and what is no video says so."""

import contextlib
import hashlib
import os
import resource
import struct
import time
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from echosynth.cohort import video
from echosynth.cohort.tables import Problem
from echosynth.cohort.video import (
    clip_info,
    clip_writer,
    read_clip,
    read_frames,
    square_transform,
    to_square,
    write_clip,
)
from echosynth.errors import InputError


def speckled_cone(frames: int = 12, height: int = 112, width: int = 112) -> np.ndarray:
    """Smooth speckle inside a sector, black outside, one block of full white."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    inside = (np.abs(x - width / 2) < 0.7 * y) & (np.hypot(x - width / 2, y) < 0.95 * height)
    noise = rng.gamma(2, 40, (frames, height, width))
    smooth = sum(np.roll(noise, shift, axis) for axis in (1, 2) for shift in (0, 1)) / 4
    clip = np.where(inside, np.clip(smooth, 0, 255), 0).astype(np.uint8)
    clip[:, height // 2 : height // 2 + 16, width // 2 : width // 2 + 16] = 255
    return clip


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, np.ndarray]:
    clip, path = speckled_cone(), tmp_path / "0X1A.avi"
    write_clip(path, clip, 50)
    return path, clip


def test_round_trip_keeps_the_range_and_the_black(written):
    path, clip = written
    back, fps = read_clip(path)
    assert back.shape == clip.shape and back.dtype == np.uint8 and fps == 50
    error = back.astype(float) - clip
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 38
    # Blocks of 8x8 without anything in them come back exactly black, blocks of white within the quantiser's step.
    empty = clip.reshape(-1, 14, 8, 14, 8).max((2, 4)) == 0
    assert empty.mean() > 0.2 and (back.reshape(-1, 14, 8, 14, 8).max((2, 4))[empty] == 0).all()
    assert back[clip == 0].mean() < 0.5
    assert back[:, 58:70, 58:70].min() >= 250 and back.max() == 255


def test_every_grey_survives(tmp_path):
    """Flat frames of every grey: full range, no step of limited range (16-235) in between."""
    greys = np.arange(256, dtype=np.uint8)
    write_clip(tmp_path / "flat.avi", np.broadcast_to(greys[:, None, None], (256, 16, 16)).copy(), 25)
    back, _ = read_clip(tmp_path / "flat.avi")
    assert np.abs(back.astype(int) - greys[:, None, None]).max() <= 1
    assert (back[0] == 0).all() and (back[255] >= 254).all()


def test_same_clip_same_bytes_without_a_version_in_them(written, tmp_path):
    path, clip = written
    write_clip(tmp_path / "other name.avi", clip.copy(), 50.0)
    first, second = path.read_bytes(), (tmp_path / "other name.avi").read_bytes()
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    assert b"Lavc" not in first and b"Lavf" not in first


@pytest.mark.parametrize("fps", [50, 32.0, 29.97, 30000 / 1001, 12.5, 100 / 3])
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 33, 47)])
def test_rate_and_odd_sizes(tmp_path, fps, shape):
    clip = np.full(shape, 90, np.uint8)
    write_clip(tmp_path / "a.avi", clip, fps)
    back, rate = read_clip(tmp_path / "a.avi")
    assert rate == pytest.approx(fps, rel=1e-12) and back.shape == shape
    assert clip_info(tmp_path / "a.avi") == (rate, *shape)


def test_read_frames_is_read_clip_indexed(written):
    path, _ = written
    whole, _ = read_clip(path)
    asked = [11, 0, 0, 7, 3]
    assert (read_frames(path, asked) == whole[asked]).all()
    assert (read_frames(path, np.array([4])) == whole[[4]]).all()
    with pytest.raises(InputError, match=r"0X1A\.avi: frame 12 was asked for"):
        read_frames(path, [0, 12])


@pytest.mark.parametrize(
    "codec, container, pixels",
    [
        ("libx264", "mp4", "yuv420p"),
        ("mpeg4", "avi", "yuv420p"),
        ("ffv1", "matroska", "gray"),
        ("rawvideo", "avi", "bgr24"),
    ],
)
def test_other_codecs_and_limited_range(tmp_path, codec, container, pixels):
    ramp = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8), (9, 128, 128)).copy()
    path = tmp_path / "a.avi"
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width = stream.height = 128
        stream.pix_fmt = pixels
        for image in ramp:
            frame = av.VideoFrame.from_ndarray(image, format="gray")
            out.mux(stream.encode(frame.reformat(format=pixels, dst_color_range=1) if pixels == "yuv420p" else frame))
        out.mux(stream.encode())
    back, fps = read_clip(path)
    assert fps == 25 and np.abs(back.astype(int) - ramp).mean() < 1
    assert clip_info(path) == (25, 9, 128, 128)
    assert (read_frames(path, [8, 2]) == back[[8, 2]]).all()


@pytest.mark.parametrize(
    "content",
    [
        b"hello world\n" * 100,
        b"RIFF\xff\xff\xff\xffAVI LIST",
        b"\xff\xd8\xff\xe0 not much",
        bytes(5000),
        b"#EXTM3U\n#EXTINF:1,\n0X1A.avi\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile 0X1A.avi\n",
    ],
)
def test_what_is_no_video_is_refused(written, content):
    """Playlists too: they would make the reader open other files."""
    bad = written[0].with_name("bad.avi")
    bad.write_bytes(content)
    for read in (read_clip, clip_info, lambda path: read_frames(path, [0])):
        with pytest.raises(InputError, match=r"^bad\.avi: not a video that can be read .*; replace the file$"):
            read(bad)


def test_missing_empty_and_folder(tmp_path):
    (tmp_path / "empty.avi").touch()
    (tmp_path / "folder.avi").mkdir()
    os.mkfifo(tmp_path / "pipe.avi")
    for name, what in {
        "gone": "no such file",
        "empty": "an empty file",
        "folder": "not a regular file",
        "pipe": "not a regular file",
    }.items():
        with pytest.raises(InputError, match=f"^{name}.avi: {what}; "):
            read_clip(tmp_path / f"{name}.avi")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_a_cut_file_is_found(written, share):
    path, _ = written
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"0X1A\.avi: (truncated|not a video)"):
        clip_info(path)
    with pytest.raises(InputError, match=r"0X1A\.avi: (truncated|not a video)"):
        read_clip(path)


def test_a_file_cut_between_frames_is_found_by_its_header_or_by_what_is_expected(written):
    path, _ = written
    whole = path.read_bytes()
    starts = [at for at in range(len(whole)) if whole.startswith(b"00dc", at) and whole.startswith(b"\xff\xd8", at + 8)]
    path.write_bytes(whole[: starts[7]])
    with pytest.raises(InputError, match="truncated: 7 of 12 frames can be read"):
        clip_info(path)
    assert clip_info(path, expected=7).frames == 7
    path.write_bytes(whole)
    assert clip_info(path, expected=12).frames == 12
    with pytest.raises(InputError, match="truncated: 12 of 13 frames can be read"):
        clip_info(path, expected=13)


def test_oversized_frames_are_refused(tmp_path):
    write_clip(tmp_path / "wide.avi", np.zeros((1, 16, 4104), np.uint8), 10)
    with pytest.raises(InputError, match=r"wide\.avi: frames of 4104x16 pixels"):
        read_clip(tmp_path / "wide.avi")


def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    @contextmanager
    def full(path):
        yield Path("/dev/full")

    monkeypatch.setattr(video, "atomic_file", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        write_clip(tmp_path / "a.avi", np.zeros((2, 16, 16), np.uint8), 10)
    assert not isinstance(raised.value, InputError)


def test_nothing_is_left_of_a_clip_that_could_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "open", lambda path, mode: open("/dev/full", mode))  # noqa: SIM115
    with pytest.raises(OSError, match="No space"):
        write_clip(tmp_path / "a.avi", np.zeros((2, 16, 16), np.uint8), 10)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_written_piece_by_piece_is_the_clip_written_at_once(tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (7, 16, 24), dtype=np.uint8)
    write_clip(tmp_path / "whole.avi", clip, 32)
    with clip_writer(tmp_path / "pieces.avi", 32) as writer:
        for part in (clip[:3], clip[3:4], clip[4:]):
            writer.write(part)
            assert not (tmp_path / "pieces.avi").exists()
    assert (tmp_path / "pieces.avi").read_bytes() == (tmp_path / "whole.avi").read_bytes()


def test_nothing_is_left_of_a_discarded_clip(tmp_path):
    with clip_writer(tmp_path / "a.avi", 32) as writer:
        writer.write(np.zeros((2, 16, 16), np.uint8))
        writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_to_square_is_the_mean_over_each_pixels_area():
    clip = np.random.default_rng(1).integers(0, 256, (3, 448, 448), dtype=np.uint8)
    expected = clip.reshape(3, 112, 4, 112, 4).mean((2, 4))
    assert np.abs(to_square(clip) - expected).max() <= 0.51
    # 3 pixels to 2: the middle one is shared half and half.
    line = np.array([0, 90, 240], np.uint8)
    assert (to_square(np.tile(line, (1, 3, 1)), 2)[0] == [[30, 190], [30, 190]]).all()


def test_to_square_pads_the_shorter_side_with_black_and_keeps_flat_grey():
    square = to_square(np.full((2, 60, 80), 200, np.uint8), 40)
    assert (square[:, 5:35] == 200).all() and (square[:, :5] == 0).all() and (square[:, 35:] == 0).all()
    tall = to_square(np.full((1, 10, 5), 77, np.uint8), 40)
    assert (tall[:, :, 10:30] == 77).all() and tall[:, :, :10].max() == 0
    clip = np.zeros((1, 112, 112), np.uint8)
    assert to_square(clip) is clip


@pytest.mark.parametrize("shape", [(60, 80), (81, 33), (40, 40), (20, 13), (112, 112)])
def test_square_transform_tells_where_a_point_goes(shape):
    """The centre of mass of a bright blob moves as its centre is said to."""
    y, x = (np.arange(side) + 0.5 for side in shape)
    centre = np.array([0.4 * shape[1], 0.6 * shape[0]])
    clip = np.rint(
        255 * np.exp(-((x - centre[0]) ** 2 + (y[:, None] - centre[1]) ** 2) / (0.003 * max(shape) ** 2))
    ).astype(np.uint8)[None]
    square = to_square(clip, 40)[0].astype(float)
    mass = np.array([square.sum(0) @ (np.arange(40) + 0.5), square.sum(1) @ (np.arange(40) + 0.5)]) / square.sum()
    scale, shift = square_transform(*shape, 40)
    assert centre * scale + shift == pytest.approx(mass, abs=0.05)


def test_to_square_enlarges_linearly():
    ramp = np.tile(np.array([0, 100], np.uint8), (1, 2, 1))
    assert (to_square(ramp, 4)[0] == [0, 25, 75, 100]).all()


def changed(path: Path, *changes: tuple[bytes, bytes]) -> None:
    data = path.read_bytes()
    for old, new in changes:
        assert old in data and len(old) == len(new)
        data = data.replace(old, new)
    path.write_bytes(data)


def refused(path: Path) -> str:
    """What both readers say, one line."""
    lines = set()
    for read in (clip_info, read_clip, lambda path: read_frames(path, [0, 1])):
        with pytest.raises(Problem) as caught:
            read(path)
        assert str(caught.value).isprintable() and str(caught.value).startswith(path.name)
        lines.add(str(caught.value))
    return lines.pop()


@pytest.mark.parametrize("code", [b"XXXX", b"\0\0\0\0", b"IV50", b"H264", b"FFV1", b"MP42", b"png ", b"VP90"])
def test_a_codec_that_is_none_or_another_is_one_line(written, code):
    path, _ = written
    changed(path, (b"MJPG", code))
    line = refused(path)
    assert code != b"XXXX" or "coded in a way that cannot be decoded here" in line


@pytest.mark.parametrize("height, width", [(65500, 65500), (8000, 2000)])
def test_a_frame_that_claims_to_be_huge_is_refused_without_memory_for_it(written, height, width):
    path, _ = written
    changed(path, (b"\xff\xc0\0\x11\x08\0\x70\0\x70", b"\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@pytest.mark.parametrize(
    "error", [ValueError("odd"), AttributeError("none"), MemoryError(), RuntimeError("a\nb"), IndexError()]
)
def test_whatever_the_reader_raises_is_one_line(written, monkeypatch, error):
    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr(video.av, "open", broken)
    assert f"cannot be read ({type(error).__name__})" in refused(written[0])


def test_what_is_longer_than_any_clip_is_refused(written, monkeypatch):
    path, clip = written
    monkeypatch.setattr(video, "MAX_FRAMES", len(clip) - 1)
    for read in (clip_info, read_clip):
        with pytest.raises(Problem, match="12 frames; cut it to 11 frames and 8 GiB at most"):
            read(path)
    monkeypatch.setattr(video, "MAX_FRAMES", len(clip))
    monkeypatch.setattr(video, "MAX_BYTES", clip.size - 1)
    for read in (clip_info, read_clip):
        with pytest.raises(Problem, match="bytes when decoded"):
            read(path)
    monkeypatch.setattr(video, "MAX_BYTES", clip.size)
    assert clip_info(path).frames == len(read_clip(path)[0]) == 12


@pytest.mark.parametrize("fastest, rate", [(20, 25), (10_000, 0.01)])
def test_a_frame_rate_that_no_scanner_has_is_refused(tmp_path, monkeypatch, fastest, rate):
    monkeypatch.setattr(video, "_FASTEST", fastest)
    write_clip(tmp_path / "a.avi", np.zeros((3, 16, 16), np.uint8), rate)
    for read in (clip_info, read_clip):
        with pytest.raises(Problem, match="frames a second"):
            read(tmp_path / "a.avi")


def mp4(path: Path, fragments: bool = False) -> bytearray:
    with av.open(
        str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"} if fragments else {}
    ) as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p"
        for _ in range(4):
            out.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.zeros((32, 32), np.uint8), format="gray").reformat(format="yuvj420p")
                )
            )
        out.mux(stream.encode())
    assert read_clip(path)[0].shape == (4, 32, 32)
    return bytearray(path.read_bytes())


def test_an_mp4_that_claims_samples_without_end_is_refused_without_memory_for_them(tmp_path):
    path = tmp_path / "bomb.avi"
    data, many = mp4(path), 50_000_000
    for box, offset in ((b"stsz", 8), (b"stsc", 16), (b"stts", 12)):
        struct.pack_into(
            ">II" if box == b"stsz" else ">I",
            data,
            data.find(box) + offset,
            *((100, many) if box == b"stsz" else (many,)),
        )
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "more than 10,000,000 samples claimed" in refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
    data = mp4(path, fragments=True)
    struct.pack_into(">I", data, data.find(b"trun") + 8, many)
    path.write_bytes(data)
    assert "samples claimed" in refused(path)
    data = mp4(path)
    data[data.find(b"mvhd") : data.find(b"mvhd") + 4] = b"cmov"
    path.write_bytes(data)
    assert "a compressed header" in refused(path)


def test_an_mp4_of_endless_boxes_is_refused_soon(tmp_path):
    path = tmp_path / "boxes.avi"
    path.write_bytes(b"\0\0\0\x08free" * 300_000)
    assert "not a video that can be read" in refused(path)
    with path.open("wb") as file:
        file.write(b"\0\0\0\x08ftyp")
        file.truncate(2**28)
    assert "not a video that can be read" in refused(path)


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_is_one_line_or_a_clip(written, seed):
    """Flipped bytes, cuts, and lies in the headers: nothing but a Problem is raised, and soon."""
    path, _ = written
    rng, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    for at in rng.integers(0, 300 if seed % 2 else len(data), 1 + seed % 7):
        data[at] = rng.integers(256)
    if seed % 5 == 0:
        del data[int(rng.integers(len(data))) :]
    path.write_bytes(data)
    began = time.process_time()
    for read in (clip_info, read_clip):
        with contextlib.suppress(Problem):
            found = read(path)
            assert found.frames if read is clip_info else found[0].ndim == 3
    assert time.process_time() - began < 5
