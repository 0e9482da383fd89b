"""A simulated cohort on disk, in the layout of EchoNet-Dynamic, plus patients.csv."""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from echosynth.cohort.echonet import write_filelist, write_patients, write_tracings
from echosynth.cohort.phantom.heart import LeftVentricle, Patient, contraction, draw_patient
from echosynth.cohort.phantom.image import Placement, Visit, draw_visit, render, scale_of
from echosynth.cohort.phantom.sites import Site
from echosynth.cohort.phantom.sites import site as site_of
from echosynth.cohort.video import write_clip
from echosynth.errors import InputError
from echosynth.progress import progress
from echosynth.randomness import numpy_rng

SIZE = 112
FRAMES = (100, 128)  # clips last two to two and a half seconds
SPLITS = {"TRAIN": 0.6, "VAL": 0.2, "TEST": 0.2}  # of the patients: held-out ones calibrate the screen, so there are more than in EchoNet


@dataclass(frozen=True)
class PhantomClip:
    """A visit of a simulated patient with its truth; the frames are rendered when asked for."""

    patient: Patient
    lv: LeftVentricle
    site: Site
    visit: Visit
    time: np.ndarray  # s, (T,)
    contraction: np.ndarray  # 0 at end diastole, 1 at end systole, (T,)
    opening: np.ndarray  # of the mitral valve, (T,)

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

    def frames(self) -> np.ndarray:
        """uint8 (T, 112, 112)."""
        return render(self.patient, self.lv, self.site, self.visit, self.time, self.contraction, self.opening, SIZE)

    def tracings(self) -> dict[int, np.ndarray]:
        """{ED frame, ES frame: (21, 4) pixels x1, y1, x2, y2}: the long axis, then 20 chords from apex to base."""
        place = Placement(self.patient, self.visit)
        pixels = SIZE / (scale_of(np.deg2rad(self.site.half_angle)) * self.visit.depth)
        traced = {}
        for frame, level in ((int(np.argmin(self.contraction)), 0.0), (int(np.argmax(self.contraction)), 1.0)):
            x1, z1, x2, z2 = self.lv.tracing(level).T
            breath_x, breath_y = self.visit.breath(self.time[frame])
            (wx1, wy1), (wx2, wy2) = place.world(x1, z1), place.world(x2, z2)
            shift = np.array([breath_x, breath_y, breath_x, breath_y])
            traced[frame] = (np.stack([wx1, wy1, wx2, wy2], axis=1) + shift) * pixels + np.array([SIZE / 2, 0, SIZE / 2, 0])
        return traced


def simulate_clip(seed: int, patient_index: int, visit_index: int, site_name: str, frames: int | None = None) -> PhantomClip:
    """One clip, the same whatever else is simulated: visit `visit_index` of patient `patient_index` of the cohort with this seed.

    At the site "many" every visit is to another random scanner, so that only the heart ties a patient's clips together.
    """
    patient = draw_patient(numpy_rng(seed, "patient", patient_index))
    rng = numpy_rng(seed, "visit", patient_index, visit_index)
    site = site_of(site_name, rng)
    visit = draw_visit(patient, site, rng)
    count = frames or int(rng.integers(FRAMES[0], FRAMES[1] + 1))
    time = np.arange(count) / site.fps
    heart_rate = float(np.clip(patient.heart_rate * rng.normal(1, 0.06), 46, 115))
    c, opening = contraction(time, heart_rate, patient.atrial_share, rng)
    return PhantomClip(patient, LeftVentricle(patient), site, visit, time, c, opening)


def simulate_cohort(
    out: Path, patients: int, clips_per_patient: int = 2, seed: int = 0, site: str = "alder", workers: int | None = None, splits: dict[str, float] = SPLITS
) -> None:
    """Writes a simulated cohort of `patients` x `clips_per_patient` clips into `out`; the same bytes whatever the number of workers.

    An interrupted simulation goes on where it stopped; FileList.csv appears last. Raises InputError when `out` holds something else.
    """
    site_of(site, numpy_rng(seed, "check"))
    if patients < 1 or clips_per_patient < 1:
        raise InputError(f"--patients {patients} --clips-per-patient {clips_per_patient}: give at least one of each")
    begun = out / ".phantom"
    recipe = f"patients={patients} clips={clips_per_patient} seed={seed} site={site}\n"
    goes_on = begun.exists() and begun.read_text() == recipe and not (out / "FileList.csv").exists()
    if not goes_on and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: not empty; give a new folder for the simulated cohort")
    out.mkdir(parents=True, exist_ok=True)
    begun.write_text(recipe)
    split = _splits(patients, seed, splits)
    jobs = [(out, seed, p, v, site) for p in range(patients) for v in range(clips_per_patient)]
    rows, tracings = [], []
    with progress("simulating", len(jobs)) as advance, ProcessPoolExecutor(workers or os.cpu_count(), initializer=_one_thread) as pool:
        for (_, _, p, _, _), (row, traced) in zip(jobs, pool.map(_simulate_file, jobs, chunksize=1), strict=True):
            rows.append(row | {"patient": f"P{p:06d}", "split": split[p]})
            tracings.extend(traced)
            advance()
    clips = pd.DataFrame(rows)
    write_tracings(out, pd.DataFrame(tracings, columns=["name", "x1", "y1", "x2", "y2", "frame"]))
    write_patients(out, clips)
    write_filelist(out, clips)
    begun.unlink()


def _splits(patients: int, seed: int, splits: dict[str, float]) -> list[str]:
    """A split for every patient in the given proportions, by random order."""
    order = numpy_rng(seed, "split").permutation(patients)
    held_out = [round(patients * splits[s]) for s in ("VAL", "TEST")]
    names = ["VAL"] * held_out[0] + ["TEST"] * held_out[1]
    names = ["TRAIN"] * (patients - len(names)) + names
    return [names[i] for i in np.argsort(order)]


def _one_thread() -> None:
    """Small matrix products: threads of a worker's own would only fight those of the others."""
    threadpool_limits(1)


def _simulate_file(job: tuple[Path, int, int, int, str]) -> tuple[dict, list[list]]:
    """Worker: one clip to its file, its FileList row and its tracing rows."""
    out, seed, p, v, site_name = job
    clip = simulate_clip(seed, p, v, site_name)
    name = f"PH{seed:04d}{p:06d}{v:02d}"
    path = out / "Videos" / f"{name}.avi"
    if not path.exists():  # written by an earlier, interrupted simulation: files appear whole or not at all
        write_clip(path, clip.frames(), clip.site.fps)
    row = {"name": name, "ef": clip.ef, "esv": clip.esv, "edv": clip.edv, "fps": clip.site.fps, "frames": len(clip.time), "height": SIZE, "width": SIZE}
    traced = [[name, *map(float, line), frame] for frame, lines in clip.tracings().items() for line in lines]
    return row, traced
