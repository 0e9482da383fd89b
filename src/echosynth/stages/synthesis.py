"""Synthesis: images from noise, screened, animated at the EF asked for, screened again as videos, and written as an EchoNet-Dynamic cohort."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from echosynth.cohort.check import FILELIST, TRACINGS, VIDEOS
from echosynth.cohort.echonet import write_filelist, write_tracings
from echosynth.config import SynthesisSection
from echosynth.errors import InputError
from echosynth.files import PRIVATE_FILE, atomic_file, publish, sweep
from echosynth.folders import resumable_folder
from echosynth.private import README
from echosynth.stages.candidates import Models, fill_places
from echosynth.stages.journal import JOURNAL, Journal
from echosynth.stages.plan import plan_of
from echosynth.stages.regressor import given_reader
from echosynth.stages.segmentation import segmenter_of
from echosynth.stages.start import cohort_of
from echosynth.study import Stage, Study, all_but, peak_memory_mb
from echosynth.training.segmenter import measure_clips

MEASURED, READINGS, SCREENING = "measured.parquet", "readings.csv", "screening.parquet"


def synthesize(study: Study, out: Path, options: SynthesisSection, seed: int, screening: Path | None = None) -> dict:
    """Fills the folder `out` with a synthetic cohort and returns the summary: counts, seconds, rejections, peak memory.

    Resumes from what an earlier, interrupted call with the same options left. `FileList.csv` is written last. The table of the screening
    (slot, attempt, kind, kept, the verdicts of both protocols (privacy/protocols.py) and, of videos, the EF read where there is a tolerance) goes to `screening`, by default
    `out/screening.parquet`. Raises InputError when a place cannot be filled within `synthesis.max_attempts` attempts.
    """
    cohort, config = cohort_of(study), study.config
    count = options.videos or len(cohort.clips)
    plan = plan_of(study, cohort, count, options.ef, seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = Models.open(study, device, options)
    sweep(out / "Videos")
    journal = Journal(out / JOURNAL, lambda slot: out / "Videos" / f"{plan.names[slot]}.avi", study.seal_key)
    todo = [slot for slot in range(count) if slot not in journal.done]
    fill_places(models, todo, count, plan, options, config, seed, journal)

    rows = pd.DataFrame([row for slot in sorted(journal.done) for row in journal.done[slot]["rows"]])
    with atomic_file(screening or out / SCREENING, PRIVATE_FILE) as partial:
        rows.to_parquet(partial, index=False)
    size = 8 * models.image.config.size
    clips = pd.DataFrame(
        {"name": plan.names, "ef": plan.ef, "esv": np.nan, "edv": np.nan, "height": size, "width": size, "fps": config.video.fps, "frames": options.frames, "split": plan.split}
    )
    if options.ef_tolerance:
        _write_readings(out, clips, rows)
    _measure(study, out, clips, options)
    seconds = sum(entry["seconds"] for entry in journal.done.values())
    rejected = {kind: int((~rows["kept"] & (rows["kind"] == kind)).sum()) for kind in ("image", "video")}
    missed = int((rows["kept"] & rows["missed_ef"]).sum())
    return {
        "videos": count,
        "frames": options.frames,
        "seconds": round(seconds, 3),
        "seconds_per_clip": round(seconds / count, 4),
        "attempts": int((rows["kind"] == "image").sum()),
        "rejected_images": rejected["image"],
        "rejected_videos": rejected["video"],
        "missed_ef": missed,
        "drawn_anew": round(missed / (missed + count), 4),
        "published_rejected": int((~rows["published"] & (rows["kind"] == "image")).sum()),
        "memory_mb": peak_memory_mb(),
    }


def _write_readings(out: Path, clips: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Of each clip the EF asked for and the one that the reader (regressor.py) has read off it, both in percent."""
    kept = rows[(rows["kind"] == "video") & rows["kept"] & ~rows["missed_ef"].astype(bool)].set_index("slot")["ef_read"].sort_index()
    table = pd.DataFrame({"FileName": clips["name"], "EF": clips["ef"], "EFRead": kept.to_numpy(float).round(2)})
    with atomic_file(out / READINGS) as partial:
        table.to_csv(partial, index=False)


def _measure(study: Study, out: Path, clips: pd.DataFrame, options: SynthesisSection) -> None:
    """Measures volumes and tracings where the study has a segmentation, says what is asked for and what is measured, and writes the list of the clips, last of all."""
    found = segmenter_of(study)
    if found is not None:
        segmenter, ml = found
        measured = measure_clips(segmenter, [out / "Videos" / f"{name}.avi" for name in clips["name"]], "volumes of synthetic clips", ml)
        with atomic_file(out / MEASURED) as partial:
            measured.clips.to_parquet(partial, index=False)
        write_tracings(out, measured.tracings)
        clips = clips.assign(edv=measured.clips["edv"].round(2), esv=measured.clips["esv"].round(2))
    with atomic_file(out / README) as partial:
        chosen = _CHOSEN.format(_learnt_from(options.reader, study.config.init), options.ef_tolerance) if options.ef_tolerance else _ANY_EF
        partial.write_text(_README + chosen + (_WITH_VOLUMES if found is not None else _WITHOUT_VOLUMES))
    write_filelist(out, clips)


def _learnt_from(reader: str, init: str) -> str:
    """What the network that reads EFs was trained on."""
    if reader == "study":
        return "real clips"
    return "clips that only the maker of the weights it comes with knows" if given_reader(init) else "simulated hearts alone"


_README = """# Synthetic echocardiograms

All clips were made by generative models (echosynth); none is a recording. Whether one resembles a patient's clip is what an audit measures: see the passport of the release.
The layout is that of EchoNet-Dynamic.

- `EF` in FileList.csv is the ejection fraction, in percent, that a clip was **asked** to show.
"""
_ANY_EF = "  It was not measured.\n"
_CHOSEN = "  Clips off which a network, trained on {}, read an EF that was more than {:g} points away were left out and others drawn in their place.\n"
_CHOSEN += f"- `{READINGS}` has, for each clip, the EF that this network read (`EFRead`), corrected by its line on clips that it did not learn from.\n"
_WITH_VOLUMES = f"""- `ESV` and `EDV` (mL) and VolumeTracings.csv are **measured** on the finished clips by a segmentation network; nobody has traced them. They need not give the EF that was asked for. Millilitres
  rest on one mean pixel size, so they say little of how large a heart is. A clip without a beat that the network could find has none.
- `{MEASURED}` has, for each clip, the EF by these volumes (`ef`, in percent), and how much the volumes vary from beat to beat.
"""
_WITHOUT_VOLUMES = "- `ESV` and `EDV` are empty: no segmentation was trained.\n"


def release(study: Study, out: Path, options: SynthesisSection, seed: int) -> dict:
    """A synthetic cohort in a folder of its own, outside the study: the verb `synthesize`. Resumes where an interrupted call with the same options stopped.

    The table of the screening is private (scores leak what they compare with), so it lies beside the folder as `<OUT>.screening.parquet`.
    Raises InputError when `out` or that table is there already, or `out` lies in a study or a cohort.
    """
    key = Study(study.root, study.config.model_copy(update={"synthesis": options, "seed": seed})).key(STAGE)
    with resumable_folder(out, key, "--out", "synthesize") as folder:
        beside, made = out.resolve().with_name(out.resolve().name + ".screening.parquet"), folder / SCREENING
        if beside.exists() and not (folder / JOURNAL).exists():
            raise InputError(f"--out {out}: {beside} is there already, the table of another cohort of this name; move it, or give another folder")
        summary = synthesize(study, folder, options, seed)
        with atomic_file(folder / README) as partial:
            partial.write_text((folder / README).read_text() + _NOT_AUDITED)
        os.replace(made, beside)
        (folder / JOURNAL).unlink()
        publish(folder)
    return summary


_NOT_AUDITED = "- **Not audited**: nobody has looked for copies of patients in this folder. Do not share it; `echosynth audit` and `echosynth release` work on a study's own clips.\n"

STAGE = Stage(
    "synthetic",
    inputs=lambda config: ("autoencoder", "latents", "image", "reid", "video", "segmentation", *(["regressor"] if config.synthesis.ef_tolerance and config.synthesis.reader == "study" else [])),
    sections=(*all_but("synthesis", "batch_size"), "screen.protocol", "screen.withhold", "dp", "init"),
    public=(f"{VIDEOS}/*", FILELIST, TRACINGS, MEASURED, READINGS, README),
    scratch=(JOURNAL,),
    run=lambda study: synthesize(study, study.folder("synthetic"), study.config.synthesis, study.config.seed),
)
