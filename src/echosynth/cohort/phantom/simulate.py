"""A simulated cohort on disk, in the layout of EchoNet-Dynamic, plus patients.csv and truth.parquet."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from echosynth import __version__
from echosynth.cohort.echonet import write_filelist, write_patients, write_tracings
from echosynth.cohort.phantom.apical import ApicalView, apical_depth
from echosynth.cohort.phantom.grey import picture
from echosynth.cohort.phantom.overlays import burnt_in_text, draw_overlays
from echosynth.cohort.phantom.patient import Patient, Rhythm, beat, draw_patient
from echosynth.cohort.phantom.scanner import envelopes
from echosynth.cohort.phantom.screen import Screen
from echosynth.cohort.phantom.short_axis import ShortAxisView, short_axis_depth
from echosynth.cohort.phantom.sites import Site
from echosynth.cohort.phantom.sites import site as site_of
from echosynth.cohort.phantom.tissue import View, Visit, draw_visit
from echosynth.cohort.phantom.ventricle import LeftVentricle
from echosynth.cohort.video import write_clip
from echosynth.errors import InputError
from echosynth.files import atomic_file, sweep
from echosynth.folders import resumable_folder
from echosynth.interrupts import SIGNALS
from echosynth.progress import progress
from echosynth.randomness import numpy_rng

FRAMES = (112, 140)  # clips last two and a quarter to two and three quarters of a second at 50 frames a second: a window of the video model and some choice
SPLITS = {"TRAIN": 0.6, "VAL": 0.2, "TEST": 0.2}  # of the patients: held-out ones calibrate the screen, so there are more than in EchoNet
VIEWS = {"a4c": (ApicalView, apical_depth), "psax": (ShortAxisView, short_axis_depth)}


@dataclass(frozen=True)
class PhantomClip:
    """A visit of a simulated patient with its truth; the frames are rendered when asked for."""

    patient: Patient
    lv: LeftVentricle
    site: Site
    visit: Visit
    view_name: str
    heart_rate: float
    time: np.ndarray  # s, (T,)
    rhythm: Rhythm
    text: str  # burnt in

    @property
    def ef(self) -> float:
        """Percent, of the volume curve."""
        return 100 * self.patient.ef

    @property
    def edv(self) -> float:
        return self.patient.edv

    @property
    def esv(self) -> float:
        return self.patient.edv * (1 - self.patient.ef)

    @property
    def contraction(self) -> np.ndarray:
        return self.rhythm.contraction

    @property
    def diastole(self) -> int:
        """The frame that is traced as end diastole."""
        return int(np.argmin(self.contraction))

    @property
    def systole(self) -> int:
        return int(np.argmax(self.contraction))

    @property
    def extent(self) -> float:
        """Height of the picture in cm; its width is that over the site's squeeze."""
        return self.screen.extent

    @cached_property
    def screen(self) -> Screen:
        return Screen(self.site, self.visit.depth)

    @cached_property
    def view(self) -> View:
        return VIEWS[self.view_name][0](self.patient, self.lv, self.site, self.visit)

    def frames(self, overlays: bool = True) -> np.ndarray:
        """uint8 (T, S, S), S of the site."""
        powers = envelopes(self.patient, self.view, self.site, self.visit, self.time, self.rhythm)
        frames = picture(powers, self.screen, self.visit)
        if overlays and self.site.overlays:
            draw_overlays(frames, self.site, self.text, self.extent, self.rhythm, self.time)
        return frames

    def pixels(self, points: np.ndarray, frame: int) -> np.ndarray:
        """View coordinates (..., 2) in cm -> pixels (x, y) of that frame."""
        at = self.view.place.world(points[..., 0], points[..., 1], self.time[frame], self.contraction[frame])
        return self.screen.pixels(*at)

    def tracings(self) -> dict[int, np.ndarray]:
        """{ED frame, ES frame: (21, 4) pixels x1, y1, x2, y2}: the long axis (short axis: the height), then 20 chords."""
        traced = {}
        for frame, level in ((self.diastole, 0.0), (self.systole, 1.0)):
            lines = self.view.tracing(level, float(self.rhythm.flash[frame]))
            traced[frame] = self.pixels(lines.reshape(-1, 2, 2), frame).reshape(-1, 4)
        return traced

    def contours(self) -> np.ndarray:
        """(T, P, 2) endocardial contour of every frame in pixels."""
        moments = zip(self.contraction, self.rhythm.flash, strict=True)
        return np.stack([self.pixels(self.view.contour(float(c), float(f)), t) for t, (c, f) in enumerate(moments)])


def simulate_clip(seed: int, patient_index: int, visit_index: int, site_name: str, frames: int | None = None, view: str = "a4c", population: str = "adult") -> PhantomClip:
    """One clip, the same whatever else is simulated: visit `visit_index` of patient `patient_index` of the cohort with this seed.

    At the site "many" every visit is to another random scanner, so that only the heart ties a patient's clips together. Both views show the same heart.
    """
    patient = draw_patient(numpy_rng(seed, "patient", patient_index), population)
    rng = numpy_rng(seed, "visit" if view == "a4c" else f"visit {view}", patient_index, visit_index)
    site = site_of(site_name, rng)
    visit = draw_visit(patient, site, VIEWS[view][1](patient), rng)
    count = frames or int(rng.integers(FRAMES[0], FRAMES[1] + 1) * site.fps / 50)
    time = np.arange(count) / site.fps
    heart_rate = float(np.clip(patient.heart_rate * rng.normal(1, 0.06), 46, 170))
    rhythm = beat(time, heart_rate, patient.atrial_share, rng, patient.rr_jitter, patient.delay)
    return PhantomClip(patient, LeftVentricle(patient), site, visit, view, heart_rate, time, rhythm, burnt_in_text(site, rng))


def simulate_cohort(
    out: Path,
    patients: int,
    clips_per_patient: int = 2,
    seed: int = 0,
    site: str = "alder",
    workers: int | None = None,
    splits: dict[str, float] = SPLITS,
    view: str = "a4c",
    population: str = "adult",
) -> None:
    """Writes a simulated cohort into the new folder `out`; the same bytes whatever the number of workers.

    It grows in a folder beside `out` (folders.py), which takes the name when it is whole; the same call resumes
    an interrupted one.

    Args:
        out: A folder that does not exist yet, or is empty.
        patients: At least one.
        clips_per_patient: At least one.
        seed: Of all that is drawn.
        site: Whose scanner (sites.py).
        workers: Processes; by default one a core.
        splits: The share of the patients in TRAIN, VAL and TEST.
        view: One of `VIEWS`.
        population: "adult" or "paediatric".

    Raises:
        InputError: For an unknown site, view or population, when `out` holds something, or when a worker was killed.
    """
    site_of(site, numpy_rng(seed, "check"))
    draw_patient(numpy_rng(seed, "check"), population)
    if view not in VIEWS:
        raise InputError(f"unknown view {view!r}; choose one of {', '.join(VIEWS)}")
    if patients < 1 or clips_per_patient < 1:
        raise InputError(f"--patients {patients} --clips-per-patient {clips_per_patient}: give at least one of each")
    recipe = {"patients": patients, "clips": clips_per_patient, "seed": seed, "site": site, "view": view}
    recipe |= {"population": population, "splits": splits, "version": __version__}
    with resumable_folder(out, recipe, "OUT", "phantom") as folder:
        sweep(folder / "Videos")
        split = _splits(patients, seed, splits)
        jobs = [(folder, seed, p, v, site, view, population) for p in range(patients) for v in range(clips_per_patient)]
        rows, tracings = [], []
        for job, (row, traced) in zip(jobs, _simulate_files(jobs, workers or os.cpu_count() or 1), strict=True):
            rows.append(row | {"patient": f"P{job[2]:06d}", "visit": job[3], "split": split[job[2]]})
            tracings.extend(traced)
        clips = pd.DataFrame(rows)
        write_tracings(folder, pd.DataFrame(tracings, columns=["name", "x1", "y1", "x2", "y2", "frame"]))
        write_patients(folder, clips)
        with atomic_file(folder / "truth.parquet") as partial:
            clips.to_parquet(partial, index=False, compression="zstd")
        write_filelist(folder, clips)


def _simulate_files(jobs: list[tuple], workers: int) -> Iterator[tuple[dict, list[list]]]:
    """The row of the truth and the tracing rows of every clip, in their order."""
    try:
        with progress("simulating", len(jobs)) as advance, _workers(workers) as pool:
            coming = _submit(pool, jobs)
            while coming:
                yield coming.popleft().result()
                advance()
    except BrokenProcessPool as error:
        killed = "phantom: a worker process was killed, as a rule for lack of memory"
        raise InputError(f"{killed}; give fewer --workers: finished clips are kept") from error


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes. When the block fails or is interrupted, what is queued is cancelled and they end at once."""
    watched, stop = multiprocessing.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, initializer=_begin_worker, initargs=(watched,))
    try:
        yield pool
    except BaseException:
        stop.send_bytes(b"stop")
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _submit(pool: ProcessPoolExecutor, jobs: list[tuple]) -> deque[Future]:
    """Queues all jobs. The processes that this starts hear no signal until they are ready for it (`_begin_worker`)."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return deque(pool.submit(_simulate_file, job) for job in jobs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin_worker(watched: Connection) -> None:
    """A worker leaves Ctrl-C to its parent, and ends when that says so (a message that stays unread) or is gone."""
    parent = multiprocessing.parent_process()

    def end() -> None:
        wait([parent.sentinel, watched])
        os._exit(1)  # clips are written whole or not at all

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=end, name="end", daemon=True).start()
    # Small matrix products: threads of a worker's own would only fight those of the others.
    threadpool_limits(1)
    torch.set_num_threads(1)


def _splits(patients: int, seed: int, splits: dict[str, float]) -> list[str]:
    """A split for every patient in the given proportions, by random order."""
    order = numpy_rng(seed, "split").permutation(patients)
    held_out = [round(patients * splits[s]) for s in ("VAL", "TEST")]
    names = ["VAL"] * held_out[0] + ["TEST"] * held_out[1]
    names = ["TRAIN"] * (patients - len(names)) + names
    return [names[i] for i in np.argsort(order)]


def _simulate_file(job: tuple) -> tuple[dict, list[list]]:
    """Worker: one clip to its file, its row of the truth and its tracing rows."""
    out, seed, p, v, site_name, view, population = job
    clip = simulate_clip(seed, p, v, site_name, view=view, population=population)
    name = f"PH{seed:04d}{p:06d}{v:02d}"
    path = out / "Videos" / f"{name}.avi"
    if not path.exists():  # written by an earlier, interrupted simulation: files appear whole or not at all
        write_clip(path, clip.frames(), clip.site.fps, clip.site.quantiser)
    size, patient = clip.site.size, clip.patient
    row = {"name": name, "ef": clip.ef, "esv": clip.esv, "edv": clip.edv, "fps": clip.site.fps, "frames": len(clip.time), "height": size, "width": size}
    row |= {"view": view, "site": site_name, "population": population, "phenotype": patient.phenotype, "age": patient.age, "heart_rate": clip.heart_rate, "text": clip.text}
    row |= {"ed_frame": clip.diastole, "es_frame": clip.systole, "lv_length_ed": patient.length, "lv_length_es": patient.length - patient.mapse}
    row |= {"volume": clip.lv.volume(clip.contraction).astype(np.float32), "contour": clip.contours().astype(np.float32).ravel()}
    traced = [[name, *map(float, line), frame] for frame, lines in clip.tracings().items() for line in lines]
    return row, traced
