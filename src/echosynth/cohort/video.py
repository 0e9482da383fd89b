"""Videos of echocardiograms through PyAV: grey full-range frames in, grey full-range frames out."""

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorRange

from echosynth.cohort.tables import Problem
from echosynth.files import atomic_file, open_regular

_MAX_SIDE = 4096  # pixels
MAX_FRAMES, MAX_BYTES = 100_000, 2**33  # of one clip, its bytes decoded to grey: what claims more is no echocardiogram
_SLOWEST, _FASTEST = 0.1, 10_000  # frames a second
_DECODER = {"max_pixels": str(_MAX_SIDE**2)}  # a frame may claim another size than its container does
# A playlist in an .avi file's clothes would make libav open other files or addresses: only containers that hold their
# own frames are read, by how they begin.
_FORMATS, _MP4 = {b"RIFF": "avi", b"\x1aE\xdf\xa3": "matroska,webm", b"\0\0\x01\xba": "mpeg"}, "mov,mp4,m4a,3gp,3g2,mj2"
_COUNTS = {b"stsz": 12, b"stz2": 12, b"trun": 8}  # boxes of an MP4 that say how many samples there are, and where
# In an MP4: samples (of sound there are many), bytes outside the frames, boxes.
_SAMPLES, _HEADER, _BOXES = 10_000_000, 64 * 2**20, 200_000
FINEST = 2  # the finest quantiser that MJPEG encoders use by default
_LAMBDA = 118  # libav's FF_QP2LAMBDA
_CHECKED = 2  # frames decoded at either end of a clip by clip_info


class ClipInfo(NamedTuple):
    """What a video holds: frames per second, number of frames, height and width in pixels."""

    fps: float
    frames: int
    height: int
    width: int


def read_clip(path: Path) -> tuple[np.ndarray, float]:
    """All frames of a video as uint8 (T, H, W) grey, 0 black and 255 white, and its frames per second.

    Raises InputError naming the clip when it is missing, no video, damaged, without frames, or larger than any clip is
    (`MAX_FRAMES`, `MAX_BYTES`).
    """
    with _opened(path) as (container, stream):
        frames = [_grey(frame) for frame in _frames(container, stream, path)]
        return _stack(frames, path), _fps(stream, path)


def read_frames(path: Path, frames: Sequence[int]) -> np.ndarray:
    """The frames of those indices, in that order (an index may come twice), as uint8 (len(frames), H, W).

    Where each frame is coded by itself, as in MJPEG, no other is decoded. Raises InputError as `read_clip`, and where
    the video ends too soon.
    """
    wanted = {int(index) for index in frames}
    assert wanted and min(wanted) >= 0
    last, kept = max(wanted), {}
    with _opened(path) as (container, stream):
        alone = stream.codec_context.codec.intra_only
        for index, item in enumerate(_packets(container, stream, path) if alone else _frames(container, stream, path)):
            if index in wanted:
                kept[index] = _grey(_decode_one(item, path, index) if alone else item)
            if index == last:
                break
    if last not in kept:
        raise Problem(
            path.name,
            f"frame {last} was asked for and the video ends before",
            "replace the file if it was cut, or check the cohort again",
        )
    return _stack([kept[int(index)] for index in frames], path)


def clip_info(path: Path, expected: int | None = None) -> ClipInfo:
    """Counts the frames that are really there, and decodes the first and last two (all of them where frames are coded
    from their neighbours).

    `expected` is the number of frames that the clip is known to have; without it the container's own header is the
    measure.
    Raises InputError as `read_clip`, and when frames are missing at the end.
    """
    with _opened(path) as (container, stream):
        decoded, count = [], 0
        if stream.codec_context.codec.intra_only:
            tail: deque = deque(maxlen=_CHECKED)
            for count, packet in enumerate(_packets(container, stream, path), start=1):
                if count <= _CHECKED:
                    decoded.append(_decode_one(packet, path, count - 1))
                else:
                    tail.append(packet)
            decoded += [_decode_one(packet, path, count - len(tail) + k) for k, packet in enumerate(tail)]
            shapes = {(frame.height, frame.width) for frame in decoded}
        else:
            shapes = set()
            for frame in _frames(container, stream, path):
                shapes.add((frame.height, frame.width))
                count += 1
        if not count:
            raise Problem(path.name, "no frame in it", "replace the file")
        _refuse_long(path, count, max(height * width for height, width in shapes) * count)
        whole = stream.frames if expected is None else expected
        if count < whole:
            raise Problem(path.name, f"truncated: {count} of {whole} frames can be read", "replace the file")
        if len(shapes) > 1:
            raise Problem(path.name, "its frames change size", "write it again in one size")
        return ClipInfo(_fps(stream, path), count, *shapes.pop())


def write_clip(path: Path, clip: np.ndarray, fps: float, quantiser: int = FINEST) -> None:
    """Writes uint8 (T, H, W) as `clip_writer` does."""
    assert clip.size
    with clip_writer(path, fps, quantiser) as writer:
        writer.write(clip)


class ClipWriter:
    """Takes the frames of one clip as they come."""

    def __init__(self, container: av.container.OutputContainer, fps: float, quantiser: int):
        self._container, self._fps, self._quantiser, self._stream, self.discarded = (
            container,
            fps,
            quantiser,
            None,
            False,
        )

    def write(self, frames: np.ndarray) -> None:
        """Adds uint8 (T, H, W)."""
        assert frames.dtype == np.uint8 and frames.ndim == 3
        for image in frames:
            if self._stream is None:
                self._stream = self._begin(*image.shape)
            self._container.mux(self._stream.encode(_video_frame(image)))

    def discard(self) -> None:
        """Of this clip nothing shall stay."""
        self.discarded = True

    def finish(self) -> None:
        assert self._stream is not None, "a clip without frames"
        self._container.mux(self._stream.encode())

    def _begin(self, height: int, width: int):
        stream = self._container.add_stream(
            "mjpeg", rate=Fraction(self._fps).limit_denominator(1001), options={"dct": "int"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        context = stream.codec_context
        context.color_range = ColorRange.JPEG
        context.thread_count = 1
        context.flags |= Flags.qscale | Flags.bitexact
        context.global_quality = self._quantiser * _LAMBDA
        return stream


@contextmanager
def clip_writer(path: Path, fps: float, quantiser: int = FINEST) -> Iterator[ClipWriter]:
    """An MJPEG AVI that any reader opens: full range, no colour, the same bytes on every machine, whole or not at all;
    no more than a frame of it is in memory.

    `fps` is kept exactly for whole and NTSC rates; `quantiser` goes from 2, the finest, to 31. A full disk raises
    OSError.
    """
    assert fps > 0
    with atomic_file(path) as partial, partial.open("wb") as raw:
        file = _Remembering(raw)
        with _encoder(file, fps, quantiser) as writer:
            yield writer
        raw.flush()
        if file.error is not None:
            raise file.error
        if writer.discarded:
            partial.unlink()


def through_codec(clip: np.ndarray, quantiser: int = FINEST) -> np.ndarray:
    """What `read_clip` gives of uint8 (T, H, W) that `write_clip` wrote, without a file."""
    file = BytesIO()
    with _encoder(file, 25.0, quantiser) as writer:
        writer.write(clip)
    file.seek(0)
    with av.open(file, format="avi") as container:
        container.streams.video[0].thread_count = 1
        return np.stack([_grey(frame) for frame in container.decode(video=0)])


@contextmanager
def _encoder(file: Any, fps: float, quantiser: int) -> Iterator[ClipWriter]:
    """An AVI in `file`, an object that is written to, for as long as the block runs."""
    with av.open(file, "w", format="avi", options={"fflags": "+bitexact"}) as container:
        writer = ClipWriter(container, fps, quantiser)
        yield writer
        writer.finish()


class _Remembering:
    """A file for libav, which swallows some errors of the disk: the first one is kept."""

    def __init__(self, raw: BinaryIO):
        self.error: OSError | None = None
        self._raw, self.seek, self.tell = raw, raw.seek, raw.tell

    def write(self, data: bytes) -> int:
        try:
            return self._raw.write(data)
        except OSError as error:
            self.error = self.error or error
            raise


def to_square(clip: np.ndarray, size: int = 112) -> np.ndarray:
    """Resizes uint8 (T, H, W) to (T, size, size): the longer side to `size`, the shorter in proportion and centred on
    black, so that nothing of the picture is lost.

    A pixel is the mean of the source over the area that it covers, and a linear interpolation where the clip is
    enlarged.
    """
    frames, height, width = clip.shape
    if (height, width) == (size, size):
        return clip
    new_height, new_width, top, left = _placement(height, width, size)
    rows, columns = _resampling(height, new_height), _resampling(width, new_width).T
    square = np.zeros((frames, size, size), np.uint8)
    for source, target in zip(clip, square, strict=True):
        target[top : top + new_height, left : left + new_width] = np.rint(rows @ source.astype(np.float32) @ columns)
    return square


def square_transform(height: int, width: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale (2,) and shift (2,) that take a point (x, y) of a picture of height x width to where `to_square` puts it:
    point * scale + shift, pixel i covering [i, i + 1).
    """
    new_height, new_width, top, left = _placement(height, width, size)
    return np.array([new_width / width, new_height / height]), np.array([left, top], np.float64)


def _placement(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Height, width, first row and first column of a picture within the square."""
    long = max(height, width)
    new_height, new_width = (max(1, round(size * side / long)) for side in (height, width))
    return new_height, new_width, (size - new_height) // 2, (size - new_width) // 2


def _resampling(old: int, new: int) -> np.ndarray:
    """The matrix (new, old) that resamples a line of `old` pixels to `new`; each row sums to 1."""
    scale = old / new
    pixel = np.arange(old)
    if scale >= 1:
        start = np.arange(new)[:, None] * scale
        weight = np.minimum(start + scale, pixel + 1) - np.maximum(start, pixel)
    else:
        centre = np.clip((np.arange(new)[:, None] + 0.5) * scale - 0.5, 0, old - 1)
        weight = 1 - np.abs(centre - pixel)
    weight = np.clip(weight, 0, None)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[tuple["av.container.InputContainer", "av.VideoStream"]]:
    """The container and its video stream; every error of libav or of the disk inside the block becomes an InputError
    that names the clip.
    """
    try:
        if not path.is_file():
            raise Problem(
                path.name,
                "not a regular file" if path.exists() else "no such file",
                "put the video there, or take the clip out of the list",
            )
        if path.stat().st_size == 0:
            raise Problem(path.name, "an empty file", "replace the file")
        with av.open(
            f"file:{path}", options={"format_whitelist": _format(path), "protocol_whitelist": "file"} | _DECODER
        ) as container:
            if not container.streams.video:
                raise Problem(path.name, "no video in it", "replace the file")
            stream = container.streams.video[0]
            context = stream.codec_context
            if context is None:
                raise Problem(
                    path.name, "coded in a way that cannot be decoded here", "write it again, as MJPEG or H.264"
                )
            if not (0 < context.width <= _MAX_SIDE and 0 < context.height <= _MAX_SIDE):
                raise Problem(
                    path.name,
                    f"frames of {context.width}x{context.height} pixels",
                    f"give a video of at most {_MAX_SIDE} pixels a side",
                )
            context.thread_count = 1
            context.options = _DECODER
            yield container, stream
    except Problem:
        raise
    except (av.error.InvalidDataError, av.error.ArgumentError) as error:
        raise Problem(path.name, "not a video that can be read (AVI, MP4, MOV, MKV)", "replace the file") from error
    except (av.error.FFmpegError, OSError) as error:
        raise Problem(path.name, f"cannot be read ({error.strerror})", "make it a readable file") from error
    except Exception as error:  # PyAV lets through whatever it meets in a hostile file
        raise Problem(path.name, f"cannot be read ({type(error).__name__})", "replace the file") from error


def _format(path: Path) -> str:
    """The formats that a file may have, by how it begins.

    An MP4 may claim any number of samples in a few bytes, and libav takes memory for each of them when it opens the
    file. So what lies outside its frames is searched for such claims first.
    """
    with open_regular(path) as file:
        begin = file.read(4)
        if begin in _FORMATS:
            return _FORMATS[begin]
        header = _mp4_header(file, path)
    if b"cmov" in header:  # packed, so that nothing of it can be seen
        raise Problem(path.name, "a compressed header", "write it again, as AVI")
    found = [(match.start(), _COUNTS[match.group()]) for match in re.finditer(b"|".join(_COUNTS), header)]
    if sum(int.from_bytes(header[at + offset : at + offset + 4]) for at, offset in found) > _SAMPLES:
        raise Problem(path.name, f"more than {_SAMPLES:,} samples claimed", "write it again, as AVI")
    return _MP4


def _mp4_header(file: BinaryIO, path: Path) -> bytes:
    """What an MP4 holds besides its frames."""
    at, end, boxes, header = 0, file.seek(0, os.SEEK_END), 0, bytearray()
    while at < end:
        file.seek(at)
        begin = file.read(16)
        size = int.from_bytes(begin[8:16] if begin[:4] == b"\0\0\0\1" else begin[:4])
        size = size if size >= 8 else end - at  # 0: to the end
        if begin[4:8] != b"mdat":
            file.seek(at)
            header += file.read(min(size, _HEADER + 1))
        at, boxes = at + size, boxes + 1
        if len(header) > _HEADER or boxes > _BOXES:
            raise Problem(path.name, "not a video that can be read (AVI, MP4, MOV, MKV)", "replace the file")
    return bytes(header)


def _packets(container: "av.container.InputContainer", stream: "av.VideoStream", path: Path) -> Iterator["av.Packet"]:
    """The packets with something in them; where every frame is coded by itself, one is one frame."""
    for count, packet in enumerate(container.demux(stream)):
        _refuse_long(path, count)
        if packet.is_corrupt:
            raise Problem(path.name, "truncated: it breaks off within a frame", "replace the file")
        if packet.size:
            yield packet


def _frames(
    container: "av.container.InputContainer", stream: "av.VideoStream", path: Path
) -> Iterator["av.VideoFrame"]:
    packets = chain(_packets(container, stream, path), [None])  # None: what the decoder still holds
    decoded, size = chain.from_iterable(stream.codec_context.decode(packet) for packet in packets), 0
    for count, frame in enumerate(decoded, start=1):
        size += frame.width * frame.height
        _refuse_long(path, count, size)
        yield _sized(frame, path)


def _decode_one(packet: "av.Packet", path: Path, index: int) -> "av.VideoFrame":
    frames = packet.decode()
    if len(frames) != 1:
        raise Problem(path.name, f"frame {index} cannot be decoded", "replace the file")
    return _sized(frames[0], path)


def _refuse_long(path: Path, frames: int, size: int = 0) -> None:
    if frames > MAX_FRAMES or size > MAX_BYTES:
        what = f"{frames:,} frames" if frames > MAX_FRAMES else f"{size:,} bytes when decoded"
        raise Problem(path.name, what, f"cut it to {MAX_FRAMES:,} frames and {MAX_BYTES / 2**30:g} GiB at most")


def _sized(frame: "av.VideoFrame", path: Path) -> "av.VideoFrame":
    """The frame, unless it is larger than its container may be."""
    if max(frame.width, frame.height) > _MAX_SIDE:
        raise Problem(
            path.name,
            f"frames of {frame.width}x{frame.height} pixels",
            f"give a video of at most {_MAX_SIDE} pixels a side",
        )
    return frame


def _grey(frame: "av.VideoFrame") -> np.ndarray:
    """Luma in full range, uint8 (H, W)."""
    name, plane = frame.format.name, frame.planes[0]
    luma_alone = name.startswith(("yuvj", "yuv4", "gray")) and frame.format.components[0].bits == 8
    full = (
        name.startswith("yuvj")
        or frame.color_range == ColorRange.JPEG
        or (name == "gray" and frame.color_range != ColorRange.MPEG)
    )
    if luma_alone and full and plane.line_size > 0:
        return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()
    return frame.reformat(format="gray", dst_color_range=ColorRange.JPEG).to_ndarray()


def _video_frame(image: np.ndarray) -> "av.VideoFrame":
    """uint8 (H, W) as full-range 4:2:0 without colour."""
    frame = av.VideoFrame(image.shape[1], image.shape[0], "yuvj420p")
    luma, *chroma = frame.planes
    padded = np.zeros((luma.height, luma.line_size), np.uint8)
    padded[:, : luma.width] = image
    luma.update(padded)
    for plane in chroma:
        plane.update(np.full(plane.buffer_size, 128, np.uint8))
    frame.color_range = ColorRange.JPEG
    return frame


def _stack(frames: list[np.ndarray], path: Path) -> np.ndarray:
    if not frames:
        raise Problem(path.name, "no frame in it", "replace the file")
    if len({frame.shape for frame in frames}) > 1:
        raise Problem(path.name, "its frames change size", "write it again in one size")
    return np.stack(frames)


def _fps(stream, path: Path) -> float:
    rate = stream.average_rate or stream.base_rate
    if not rate or rate <= 0:
        raise Problem(path.name, "no frame rate in it", "write it again with its frame rate")
    if not _SLOWEST <= rate <= _FASTEST:
        raise Problem(
            path.name,
            f"{float(rate):g} frames a second",
            f"write it again with its frame rate, from {_SLOWEST:g} to {_FASTEST:,}",
        )
    return float(rate)
