"""In how many ways can a patient's clip leave the house with a release?

python -m benchmarks.smuggling OUT [--workers 2]    every way: about 20 minutes on two idle cores
python -m benchmarks.smuggling OUT --only WORDS     ways whose names have these words; studies stay in OUT/smuggling
python -m benchmarks.smuggling OUT --list           only names the ways

OUT gets two small studies first (a few minutes; delete it after a change of echosynth). A way is a copy of the first
study, into which somebody puts a training clip of the cohort before or after the audit, by mistake or with intent
and write access; then `release`, and where that is refused `release --override`. The clip has left when the JPEG
data of its first frame lie in any file of the release (or in any other new file outside the study), or a released
video has a frame that correlates above 0.99 with one of the clip's; or when the name of a patient's clip lies in the
release.

Whoever gives --override hands out what the audit has named in its reasons, so that this is counted by itself. Some
ways damage the calibration of the screen instead; there the question is as well whether `screen` passes a training
clip and whether `synthesize` works.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.small_study import (
    OVERRIDE,
    Outcome,
    Running,
    cohort_of,
    command,
    copy,
    make_study,
    print_table,
    spread,
    words_of,
)
from echosynth.cohort.video import read_clip, write_clip

SIDE, ALIKE, MOST_FRAMES, TRIES = 112, 0.99, 256, 20
CONTAINERS = {"format_whitelist": "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpeg"}
SYNTHETIC_NAME = "0X0123456789ABCDEF"
av.logging.set_level(av.logging.PANIC)


@dataclass
class Scene:
    """One attempt: a copy of the study in a folder of its own, and the patient's clip."""

    folder: Path
    original: Path
    other: Path
    study: Path = field(init=False)

    def __post_init__(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.study = copy(self.original, self.folder / "study")

    @property
    def synthetic(self) -> Path:
        return self.study / "synthetic"

    @property
    def out(self) -> Path:
        return self.folder / "released"

    @cached_property
    def rows(self) -> list[dict]:
        """Of the synthetic list, as it was before anybody touched it."""
        return read_list(self.original / "synthetic")

    @property
    def victim(self) -> Path:
        """A synthetic clip in whose place a patient's may come."""
        return self.synthetic / "Videos" / f"{self.rows[0]['FileName']}.avi"

    @cached_property
    def patient(self) -> dict:
        """The row of the training clip that is to leave."""
        return next(row for row in read_list(cohort_of(self.original)) if row["Split"] == "TRAIN")

    @property
    def clip(self) -> Path:
        return cohort_of(self.original) / "Videos" / f"{self.patient['FileName']}.avi"

    def reencoded(self, path: Path) -> None:
        """Writes the patient's clip as a clip of the study is: as many frames a second and as many frames."""
        clip, fps = read_clip(self.clip)
        count, rate = int(self.rows[0]["NumberOfFrames"]), float(self.rows[0]["FPS"])
        chosen = (np.arange(count) * fps / rate).round().astype(int)
        write_clip(path, clip[chosen[chosen < len(clip)]], rate)


def read_list(folder: Path) -> list[dict]:
    with (folder / "FileList.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_list(folder: Path, rows: list[dict]) -> None:
    with (folder / "FileList.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


Action = Callable[[Scene], None]
BEFORE, AFTER = "before", "after"


class Way(NamedTuple):
    """`action` happens before or after the audit; `then`, if any, after it; `special` replaces the release by something
    else.
    """

    name: str
    when: str
    action: Action
    then: Action | None = None
    special: Callable[[Scene], dict] | None = None


# --- Ways to put a clip somewhere ------------------------------------------------------------------------------------


def put(at: str) -> Action:
    """The clip, byte for byte, in a place of its own that no list names."""

    def action(scene: Scene) -> None:
        path = scene.synthetic / at
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(scene.clip, path)

    return action


def remuxed(at: str) -> Action:
    """The clip's packets in another container."""

    def action(scene: Scene) -> None:
        with av.open(str(scene.clip)) as source, av.open(str(scene.synthetic / at), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)

    return action


def in_place(scene: Scene, write: Callable[[Path], None]) -> None:
    """Changes the victim, and gives it its old time."""
    about = scene.victim.stat()
    write(scene.victim)
    os.utime(scene.victim, ns=(about.st_atime_ns, about.st_mtime_ns))


def replace_bytes(scene: Scene) -> None:
    """Byte for byte under a synthetic name; the list fits."""
    in_place(scene, lambda path: shutil.copyfile(scene.clip, path))
    kept = {key: scene.patient[key] for key in ("FPS", "NumberOfFrames")}
    write_list(scene.synthetic, [scene.rows[0] | kept, *scene.rows[1:]])


def replace_reencoded(scene: Scene) -> None:
    in_place(scene, scene.reencoded)


def listed(name: str, ending: str = ".avi", reencoded: bool = False) -> Action:
    """A row and a file more; by default under a name that looks synthetic."""

    def action(scene: Scene) -> None:
        row = (
            dict(scene.rows[0])
            if reencoded
            else scene.rows[0] | {key: scene.patient[key] for key in ("FPS", "NumberOfFrames")}
        )
        called = name or scene.patient["FileName"]
        path = scene.synthetic / "Videos" / f"{called}{ending}"
        scene.reencoded(path) if reencoded else shutil.copyfile(scene.clip, path)
        write_list(
            scene.synthetic, [*scene.rows, row | {"FileName": called if ending in (".avi", ".AVI") else path.name}]
        )

    return action


def link_clip(scene: Scene) -> None:
    scene.victim.unlink()
    scene.victim.symlink_to(scene.clip)


def link_reencoded(scene: Scene) -> None:
    """A link whose target fits the list, so that no reader minds it."""
    scene.reencoded(scene.study / "elsewhere.avi")
    scene.victim.unlink()
    scene.victim.symlink_to(scene.study / "elsewhere.avi")


def hard_link(scene: Scene) -> None:
    scene.victim.unlink()
    os.link(scene.clip, scene.victim)


def link_list(scene: Scene) -> None:
    """FileList.csv of the patients in the place of the synthetic one."""
    (scene.synthetic / "FileList.csv").unlink()
    (scene.synthetic / "FileList.csv").symlink_to(cohort_of(scene.original) / "FileList.csv")


def link_list_to_clip(scene: Scene) -> None:
    (scene.synthetic / "FileList.csv").unlink()
    (scene.synthetic / "FileList.csv").symlink_to(scene.clip)


def link_folder(scene: Scene) -> None:
    """Videos/ is a link to a folder elsewhere, which holds the synthetic clips and one more."""
    elsewhere = scene.study / "elsewhere"
    shutil.move(scene.synthetic / "Videos", elsewhere)
    (scene.synthetic / "Videos").symlink_to(elsewhere)
    shutil.copyfile(scene.clip, elsewhere / f"{SYNTHETIC_NAME}.avi")


def appended(to: str = "") -> Action:
    """The bytes of the clip after those of another file; without a name, of the victim."""

    def action(scene: Scene) -> None:
        path = scene.synthetic / to if to else scene.victim
        about = path.stat()
        path.write_bytes(path.read_bytes() + scene.clip.read_bytes())
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))

    return action


def junk_chunk(scene: Scene) -> None:
    """The clip in a JUNK chunk, which readers of AVI skip."""
    data, load = scene.victim.read_bytes(), scene.clip.read_bytes()
    chunk = b"JUNK" + len(load).to_bytes(4, "little") + load + b"\0" * (len(load) % 2)
    size = int.from_bytes(data[4:8], "little") + len(chunk)
    in_place(scene, lambda path: path.write_bytes(data[:4] + size.to_bytes(4, "little") + data[8:] + chunk))


def in_parquet(scene: Scene) -> None:
    """Before the footer of measured.parquet, where no reader looks; all its offsets stay right."""
    path = scene.synthetic / "measured.parquet"
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    path.write_bytes(data[:footer] + scene.clip.read_bytes() + data[footer:])


def name_in_readme(scene: Scene) -> None:
    path = scene.synthetic / "README.md"
    path.write_text(f"{path.read_text()}\nSee {scene.patient['FileName']}.avi of the archive.\n")


# --- Ways to make the audit say what it did not say ------------------------------------------------------------------


def open_gate(scene: Scene) -> None:
    """Edits audit.json: every check has passed, and no clip is a copy."""
    path = scene.study / "audit" / "audit.json"
    found = json.loads(path.read_text())
    found["gate"]["clips"], found["screening"]["copies"], found["screening"]["nearer"] = {"open": True, "reasons": []}, [], []
    for check in found["gate"]["checks"]:
        check["outcome"] = "passed"
    path.write_text(json.dumps(found, indent=2) + "\n")


def fitting_hashes(scene: Scene) -> None:
    """Replaces a clip, then edits the hashes and sizes in audit.json and in the stage's file so that they fit."""
    old, names = _sums(scene.synthetic), ("audit/audit.json", "synthetic/stage.json")
    replace_reencoded(scene)
    new = _sums(scene.synthetic)
    pairs = {before: new[name] for name, before in old.items()}
    roots = {_root(old): _root(new)}
    for path in (scene.study / name for name in names):
        if path.exists():
            value = _edited(
                json.loads(path.read_text()), pairs | roots, str(scene.victim.relative_to(scene.synthetic)), scene
            )
            path.write_text(json.dumps(value, indent=2) + "\n")


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of what a release consists of, by its path."""
    paths = [
        *(folder / "Videos").glob("*.avi"),
        *(folder / name for name in ("FileList.csv", "VolumeTracings.csv", "measured.parquet", "README.md")),
    ]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
        if path.exists()
    }


def _root(sums: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(sums.items())).encode()).hexdigest()


def _edited(value, pairs: dict[str, str], name: str, scene: Scene):
    """A JSON value with hashes replaced, and the size and time of one file where a manifest has them."""
    if isinstance(value, str):
        return pairs.get(value, value)
    if isinstance(value, list):
        return [_edited(item, pairs, name, scene) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _edited(item, pairs, name, scene) for key, item in value.items()}
    if isinstance(made.get(name), dict) and "size" in made[name]:
        about = scene.victim.stat()
        made[name] |= {"size": about.st_size, "mtime_ns": about.st_mtime_ns}
    return made


def old_audit(scene: Scene) -> None:
    """Puts back the audit of the study before the clip came."""
    shutil.rmtree(scene.study / "audit")
    shutil.copytree(scene.original / "audit", scene.study / "audit")


def foreign_audit(scene: Scene) -> None:
    """Puts the audit of another study there."""
    shutil.rmtree(scene.study / "audit")
    shutil.copytree(scene.other / "audit", scene.study / "audit")


def foreign_everything(scene: Scene) -> None:
    """The clip comes, and the notes of the stage, the audit and the key are those of another study."""
    replace_reencoded(scene)
    foreign_audit(scene)
    for name in ("seal.key", "synthetic/stage.json"):
        if (scene.other / name).exists():
            shutil.copyfile(scene.other / name, scene.study / name)


# --- Ways to prepare the goal ----------------------------------------------------------------------------------------


def prepared(name: str) -> Action:
    """A link of that name leads to a folder which holds the clip already."""

    def action(scene: Scene) -> None:
        elsewhere = scene.folder / "prepared"
        (elsewhere / "Videos").mkdir(parents=True)
        shutil.copyfile(scene.clip, elsewhere / "Videos" / f"{SYNTHETIC_NAME}.avi")
        (scene.folder / name).symlink_to(elsewhere)

    return action


def prepared_folder(scene: Scene) -> None:
    """The goal is there, and its Videos/ is a link to a folder with the clip."""
    prepared("unused")(scene)
    scene.out.mkdir()
    (scene.out / "Videos").symlink_to(scene.folder / "prepared" / "Videos")


# --- Ways to damage the screen ---------------------------------------------------------------------------------------


def calibration(change: Callable[[dict], dict]) -> Action:
    """Changes the tensors of the screen's calibration, and gives the file its old time."""

    def action(scene: Scene) -> None:
        path = scene.study / "reid" / "calibration.safetensors"
        about = path.stat()
        save_file(change(load_file(path)), path)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))

    return action


def foreign_calibration(scene: Scene) -> None:
    for path in (scene.other / "reid").glob("calibration.*"):
        shutil.copyfile(path, scene.study / "reid" / path.name)


def other_alpha(scene: Scene) -> None:
    (scene.study / "reid" / "calibration.json").write_text('{\n  "alpha": 1e-12\n}\n')


SPOILT = {
    "zeroed": calibration(lambda tensors: tensors | {"gallery": np.zeros_like(tensors["gallery"])}),
    "NaN": calibration(lambda tensors: tensors | {"gallery": np.full_like(tensors["gallery"], np.nan)}),
    "of half the length": calibration(lambda tensors: tensors | {"gallery": tensors["gallery"] / 2}),
    "with perfect strangers": calibration(lambda tensors: tensors | {"held_out": np.ones_like(tensors["held_out"])}),
    "of another study": foreign_calibration,
    "of another alpha": other_alpha,
}


def screened(scene: Scene) -> dict:
    """Whether `screen` passes the training clip, in a cohort of this one clip."""
    planted = scene.folder / "planted"
    (planted / "Videos").mkdir(parents=True)
    shutil.copyfile(scene.clip, planted / "Videos" / scene.clip.name)
    write_list(planted, [scene.patient])
    outcome = command(
        ["screen", scene.study, "--cohort", planted, "--out", scene.folder / "verdicts.parquet"], scene.folder
    )
    passed = outcome.code == 0 and f"rejected: {scene.patient['FileName']}" not in outcome.out
    said = "worked" if passed else "rejected the clip" if outcome.code == 0 else outcome.line
    return {"left": ["passed by the screen"] if passed else [], "stopped": f"screen: {said}"}


def synthesized(scene: Scene) -> dict:
    """Whether `synthesize` works with the screen that there is."""
    outcome = command(words_of("synthesize", scene.study, scene.folder), scene.folder)
    return {
        "left": ["clips nobody has screened"] if outcome.code == 0 else [],
        "stopped": f"synthesize: {outcome.line}",
    }


# --- Between check and copy ------------------------------------------------------------------------------------------


def swapped_while_released(rename: bool) -> Callable[[Scene], dict]:
    """Releases `TRIES` times, while the victim and a file that shows the patient take turns as fast as they can.

    Both have the same size and time.
    """

    def special(scene: Scene) -> dict:
        whole = scene.victim.read_bytes()
        smuggled, about = _of_the_size(scene, len(whole)), scene.victim.stat()
        spare, leaks, last, before = scene.folder / "spare", [], None, {*scene.folder.iterdir(), scene.folder / "spare"}
        for number in range(TRIES):
            out = scene.folder / f"released{number}"
            running = Running(["release", scene.study, out, *OVERRIDE], scene.folder / ".printed")
            while not running.poll():
                for data in (smuggled, whole):
                    target = spare if rename else scene.victim
                    with target.open("wb" if rename else "r+b") as file:
                        file.write(data)
                    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
                    if rename:
                        os.replace(spare, scene.victim)
            last = running.wait()
            places = new_places(scene, before)
            leaks += [number] if found_in(scene, *places) else []
            for place in places:
                shutil.rmtree(place, ignore_errors=True)
        return {"left": [f"in {len(leaks)} of {TRIES} tries"] if leaks else [], "stopped": _stop("release", last)}

    return special


def _of_the_size(scene: Scene, size: int) -> bytes:
    """A video of as many of the patient's frames as fit, filled up with zeros."""
    path = scene.folder / "some.avi"
    clip, fps = read_clip(scene.clip)
    for frames in range(len(clip), 0, -1):
        write_clip(path, clip[:frames], fps)
        if path.stat().st_size <= size:
            return path.read_bytes().ljust(size, b"\0")
    raise ValueError("no frame of the clip fits")


# --- What has left ---------------------------------------------------------------------------------------------------


def first_jpeg(clip: Path) -> bytes:
    data = clip.read_bytes()
    start = data.index(b"\xff\xd8\xff", data.index(b"movi"))
    return data[start : data.index(b"\xff\xd9", start) + 2]


def frames_of(path: Path) -> np.ndarray:
    """Frames of a video as rows of length 1 without their mean, float32 (n, SIDE * SIDE); of no video there is none."""
    rows = []
    try:
        with av.open(str(path), options=CONTAINERS) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for frame in container.decode(video=0):
                rows.append(frame.reformat(SIDE, SIDE, "gray").to_ndarray().ravel())
                if len(rows) == MOST_FRAMES:
                    break
    except (av.error.FFmpegError, IndexError, OSError, ValueError):
        pass  # a video that breaks off shows what it has shown
    values = np.array(rows, np.float32).reshape(-1, SIDE * SIDE)
    values -= values.mean(1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


def files_in(folder: Path) -> list[Path]:
    """All files that whoever holds the folder can read, through links too."""
    if folder.is_file():
        return [folder]
    return [Path(at) / name for at, _, names in os.walk(folder, followlinks=True) for name in names]


def found_in(scene: Scene, *folders: Path) -> list[str]:
    """What of the patient lies in some folders: a list of findings in words."""
    jpeg, wanted = first_jpeg(scene.clip), frames_of(scene.clip)
    names = [row["FileName"].encode() for row in read_list(cohort_of(scene.original))]
    found = []
    for path in (path for folder in folders for path in files_in(folder) if path.is_file()):
        data, seen = path.read_bytes(), frames_of(path)
        if jpeg in data:
            found.append(f"bytes in {path.name}")
        elif len(seen) and float((seen @ wanted.T).max()) > ALIKE:
            found.append(f"frames in {path.name}")
        if any(name in data or name in os.fsencode(path.name) for name in names):
            found.append(f"a name in {path.name}")
    return found


def new_places(scene: Scene, before: set[Path]) -> list[Path]:
    """Every folder and file beside the study that was not there before the release, but for what was printed."""
    return [path for path in scene.folder.iterdir() if path not in before and not path.name.startswith(".printed")]


# --- An attempt ------------------------------------------------------------------------------------------------------


def attempt(way: Way, original: Path, other: Path, folder: Path, keep: bool) -> dict:
    """Carries out one way in a folder of its own."""
    scene = Scene(folder / re.sub(r"\W+", "-", f"{way.name} {way.when}"), original, other)
    stops = []
    if way.when == BEFORE:
        way.action(scene)
        stops.append(_stop("audit", command(["audit", scene.study], scene.folder)))
        if way.then:
            way.then(scene)
    else:
        way.action(scene)
    result = way.special(scene) if way.special else released(scene)
    if not keep:
        shutil.rmtree(scene.folder)
    stopped = "; ".join(stop for stop in [*stops, result["stopped"]] if stop)
    return {
        "way": way.name,
        "when": way.when,
        "overridden": [],
        **result,
        "stopped": stopped.replace(f"{scene.folder}/", ""),
    }


def released(scene: Scene) -> dict:
    """Releases as anybody would, then with an override where that is refused."""
    plain, left = _released(scene)
    if plain.code == 0:
        return {"left": left, "stopped": ""}
    forced, overridden = _released(scene, *OVERRIDE)
    decisive = plain if overridden or forced.code == 0 else forced
    return {"left": left, "overridden": overridden, "stopped": _stop("release", decisive)}


def _released(scene: Scene, *options: str) -> tuple[Outcome, list[str]]:
    """One release; what of the patient lies in it, if it worked, or in anything new that a refused one has left."""
    before = set(scene.folder.iterdir())
    outcome = command(["release", scene.study, scene.out, *options], scene.folder)
    places = {*new_places(scene, before), *([scene.out] if outcome.code == 0 else [])}
    return outcome, found_in(scene, *places)


def _stop(verb: str, outcome: Outcome) -> str:
    """Which command refused, with which line; nothing where it worked."""
    if outcome.code == 0:
        return ""
    return (
        f"{verb} (crashed): {outcome.line}"
        if outcome.crashed
        else f"{verb}: {outcome.line.removeprefix('echosynth: error: ')}"
    )


def both(name: str, action: Action) -> list[Way]:
    return [Way(name, when, action) for when in (BEFORE, AFTER)]


def nothing(scene: Scene) -> None:
    pass


def all_ways() -> list[Way]:
    """Every way; those named "control" have to work, so that the others say something."""
    extra = f"Videos/{SYNTHETIC_NAME}"
    return [
        *both("unlisted in Videos", put(f"{extra}.avi")),
        *both("under a synthetic name, byte for byte", replace_bytes),
        *both("under a synthetic name, encoded again", replace_reencoded),
        *both("a row and a file more, byte for byte", listed(SYNTHETIC_NAME)),
        *both("a row and a file more, encoded again", listed(SYNTHETIC_NAME, reencoded=True)),
        *both("a row and a file more, under the patient's name", listed("")),
        Way("a row and a .AVI more", BEFORE, listed(SYNTHETIC_NAME, ".AVI")),
        Way("a row and a .mkv more", BEFORE, listed(SYNTHETIC_NAME, ".mkv")),
        *both("unlisted .AVI", put(f"{extra}.AVI")),
        *both("unlisted .mkv", remuxed(f"{extra}.mkv")),
        Way("unlisted .mp4", BEFORE, remuxed(f"{extra}.mp4")),
        *both("unlisted .avi.bak", put(f"{extra}.avi.bak")),
        *both("in a subfolder of Videos", put("Videos/more/0X.avi")),
        *both("in a subfolder named like a clip", put("Videos/more.avi/0X.avi")),
        *both("in a subfolder of synthetic", put("more/0X.avi")),
        *both("hidden in Videos", put(f"Videos/.{SYNTHETIC_NAME}.avi")),
        *both("hidden in synthetic", put(f".{SYNTHETIC_NAME}.avi")),
        *both("a link for a clip", link_clip),
        *both("a link for a clip that fits the list", link_reencoded),
        *both("a link for FileList.csv, to the patients'", link_list),
        *both("a link for FileList.csv, to the clip", link_list_to_clip),
        *both("a link for Videos", link_folder),
        *both("a hard link for a clip", hard_link),
        *both("after the end of a synthetic clip", appended()),
        *both("in a JUNK chunk", junk_chunk),
        *both("in README.md", appended("README.md")),
        *both("in measured.parquet", in_parquet),
        *both("in VolumeTracings.csv", appended("VolumeTracings.csv")),
        *both("after the end of FileList.csv", appended("FileList.csv")),
        *both("the patient's name in README.md", name_in_readme),
        Way("audit.json with an open gate", BEFORE, replace_reencoded, open_gate),
        Way("the audit from before the clip", BEFORE, replace_reencoded, old_audit),
        Way("the audit of another study", BEFORE, replace_reencoded, foreign_audit),
        Way("audit.json with hashes that fit", AFTER, fitting_hashes),
        Way("key and notes of another study", AFTER, foreign_everything),
        Way("the goal is a link to a folder with the clip", AFTER, prepared("released")),
        Way("the goal's .partial is such a link", AFTER, prepared("released.partial")),
        Way("the goal has such a link for Videos", AFTER, prepared_folder),
        Way("swapped by renaming while it is released", AFTER, nothing, special=swapped_while_released(rename=True)),
        Way("rewritten in place while it is released", AFTER, nothing, special=swapped_while_released(rename=False)),
        *(
            Way(f"calibration {name}: audit", BEFORE, partial(_spoil_and_replace, spoil))
            for name, spoil in SPOILT.items()
        ),
        *(Way(f"calibration {name}: screen", AFTER, spoil, special=screened) for name, spoil in SPOILT.items()),
        *(Way(f"calibration {name}: synthesize", AFTER, spoil, special=synthesized) for name, spoil in SPOILT.items()),
        Way("control: nothing is put in", AFTER, nothing),
        Way("control: whole calibration: screen", AFTER, nothing, special=screened),
    ]


def _spoil_and_replace(spoil: Action, scene: Scene) -> None:
    spoil(scene)
    replace_reencoded(scene)


def tell(results: list[dict]) -> int:
    """Prints the table; returns in how many ways something left."""
    control = [result for result in results if result["way"].startswith("control")]
    tried = [result for result in results if result not in control]
    rows = [
        [
            result["way"],
            result["when"],
            "; ".join(result["left"]) or "-",
            "; ".join(result["overridden"]) or "-",
            result["stopped"][:200] or "nothing",
        ]
        for result in results
    ]
    print_table(["way", "audit", "left the house", "with --override", "stopped by"], rows)
    left, forced = ([result for result in tried if result[key]] for key in ("left", "overridden"))
    print(
        f"\nleft the house in {len(left)} of {len(tried)} ways; "
        f"with --override, against the audit's reasons, in {len(forced)} more"
    )
    for result in control:
        if result["left"] or (result["stopped"] and "rejected the clip" not in result["stopped"]):
            print(
                f"{result['way']}: did not work as it should, so the figures say little: "
                f"{result['left']} {result['stopped']}"
            )
    return len(left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    ways = [way for way in all_ways() if options.only in f"{way.name}, {way.when} the audit"]
    if options.list:
        return print("\n".join(f"{way.name}, {way.when} the audit" for way in ways))
    study, other = make_study(options.out, 0), make_study(options.out, 1)
    folder = options.out.resolve() / "smuggling"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    carry_out = partial(attempt, original=study, other=other, folder=folder, keep=bool(options.only))
    sys.exit(1 if tell(spread(carry_out, ways, options.workers, folder / "ways.jsonl")) else 0)


if __name__ == "__main__":
    main()
