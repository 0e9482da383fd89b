"""Does the audit catch a generator that copies, and does it let an honest one pass?

python -m benchmarks.audit copies STUDY OUT          a finished study as it is, then with training clips and noise in place of its synthetic ones (in a copy of it)
python -m benchmarks.audit memoriser OUT             generators trained to death on 20 patients, with the screening switched off: else nothing would come out
python -m benchmarks.audit motion                    beats of 60 simulated patients on other hearts: how well the motion of the clips alone gives these patients away
python -m benchmarks.audit planted STUDY             near-copies of 300 training clips through the study's screen: 299 take a recall of 99 % to lie above 97 % with confidence
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from echosynth.audit.examine import audit
from echosynth.audit.membership import best_windows
from echosynth.cohort.echonet import read_cohort
from echosynth.cohort.latents import LatentStore
from echosynth.cohort.phantom import simulate_clip, simulate_cohort
from echosynth.cohort.phantom.simulate import PhantomClip
from echosynth.cohort.video import read_clip, to_square, write_clip
from echosynth.metrics.temporal import resample
from echosynth.networks.autoencoder import encode_clip
from echosynth.privacy.attacks import membership
from echosynth.privacy.handmade import embed_motion
from echosynth.privacy.planted import NEAR, copies
from echosynth.privacy.probes import nearest_scores
from echosynth.privacy.protocols import Protocols
from echosynth.privacy.screen import rate
from echosynth.progress import progress
from echosynth.randomness import numpy_rng
from echosynth.run import carry_out, open_or_create
from echosynth.stages import STAGES, synthesis
from echosynth.stages.reid import original
from echosynth.stages.start import cohort_of, trained
from echosynth.study import Study

NOISE = 4.0  # grey levels


def copy_training_clips(study: Study, noise: float) -> None:
    """Puts a training clip with noise in the place of every synthetic one, as a generator would that returns what it was given."""
    cohort, made = cohort_of(study), read_cohort(study.folder("synthetic"), splits=False)
    train = cohort.split("TRAIN")["name"].to_numpy()
    for number, row in enumerate(made.clips.itertuples()):
        rng = numpy_rng(0, "copied", number)
        clip, fps = read_clip(cohort.path(str(rng.choice(train))))
        clip = to_square(resample(clip, fps, row.fps), row.height)[: row.frames]
        noisy = clip + noise * rng.standard_normal(clip.shape) * (clip > 0)
        write_clip(made.path(row.name), noisy.round().clip(0, 255).astype(np.uint8), row.fps)


def told(found: dict) -> dict:
    """The main figures of an audit."""
    attacks = {f"{attack['threat']}: {attack['name']}": [round(attack["auc"][key], 3) for key in ("value", "low", "high")] for attack in found["attacks"]}
    closed = [f"{check['name']}: {check['words']}" for check in found["gate"]["checks"] if check["outcome"] == "failed"]
    return {"open": found["gate"]["clips"]["open"], "weights_open": found["gate"]["weights"]["open"], "copies": len(found["screening"]["copies"]), "clips": found["screening"]["clips"], "auc": attacks, "failed": closed}


def memoriser(out: Path, steps: int) -> dict:
    """An audit of generators that have seen two clips each of 20 patients `steps` times over; and how many candidates the screening would have turned away."""
    patients = {"TRAIN": 20, "VAL": 40, "TEST": 40}
    if not (out / "cohort" / "FileList.csv").exists():
        simulate_cohort(out / "cohort", sum(patients.values()), 2, seed=5, splits={split: count / sum(patients.values()) for split, count in patients.items()})
    given = {"autoencoder": 100, "image": steps, "video": steps // 8, "reid": 200, "evaluation": 50}
    options = [f"{name}.training.steps={count}" for name, count in given.items()] + ["image.training.decay=0.3", "synthesis.videos=60", "audit.planted=20"]
    options += [f"{name}.training.{rate}" for name in ("image", "video") for rate in ("learning_rate=0.001", "muon_learning_rate=0.01")]
    study = open_or_create(out / "study", out / "cohort", "demo", options=options)
    opened = synthesis.Models.open
    with patch.object(synthesis.Models, "open", lambda *args: replace(opened(*args), protocols=_KeepAll(Protocols.load(study.folder("reid"))))):
        carry_out(study, STAGES[: [stage.name for stage in STAGES].index("synthetic") + 1])
    rows = pd.read_parquet(study.folder("synthetic") / "screening.parquet")
    turned_away = {kind: float((rows.loc[rows["kind"] == kind, "p"] <= study.config.screen.alpha).mean()) for kind in ("image", "video")}
    loss = {name: {key: round(value, 4) for key, value in study.summary(name)["summary"].items() if key.startswith("loss")} for name in ("image", "video")}
    return {"steps": steps, "loss": loss, "screen_would_turn_away": turned_away} | told(audit(study))


class _KeepAll:
    """The verdicts of a study's protocols, of which none rejects."""

    def __init__(self, protocols: Protocols):
        self.protocols, self.calibrated = protocols, protocols.calibrated

    def judge(self, embeddings, kind):
        return self.protocols.judge(embeddings, kind)._replace(calibrated=True, published=True)


def planted(study: Study, count: int = 300) -> dict:
    """Recall of near-copies by kind, as windows of the length of a synthetic clip and as single frames, and the rates of false rejection. Shares and intervals are of patients: one is caught when all the patient's copies of the kind are, and of "every kind" when all copies are."""
    cohort, store, screen = cohort_of(study), LatentStore.open(study.folder("latents")), Protocols.load(study.folder("reid")).calibrated
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    autoencoder, encoder = (trained(study, name, device) for name in ("autoencoder", "reid"))
    train = np.flatnonzero((store.index["split"] == "TRAIN").to_numpy())
    chosen = numpy_rng(1, "benchmark planted").permutation(train)[:count]
    options, clips, hits = study.config.screen, cohort.clips.set_index("name", drop=False), {}
    with progress("planted copies", len(chosen)) as advance, torch.inference_mode():
        for row in chosen:
            for sample, frames in (("image", 1), ("video", options.frames)):
                rng = numpy_rng(1, "benchmark copy", int(row), frames)
                source = original(cohort, clips.loc[store.index["name"].iloc[row]], frames, options.fps, 8 * encoder.config.size, rng)
                for kind, (made,) in copies([source], [rng], autoencoder, NEAR):
                    seen = encode_clip(autoencoder, screen.looked_at(made))
                    caught = not screen.verdict(encoder.embed(seen).float().cpu(), sample).kept
                    for name in (kind.name, "every kind"):
                        by_patient = hits.setdefault((sample, name), {})
                        patient = store.index["patient"].iloc[row]
                        by_patient[patient] = by_patient.get(patient, True) and caught
            advance()
    known = study.summary("reid")["summary"]
    rates = {f"{sample}, {kind}": [round(value, 4) for value in rate(sum(found.values()), len(found))[:3]] for (sample, kind), found in hits.items()}
    return {"copies": len(chosen), "recall": rates, "false_rejection": {key: known[key] for key in known if key.startswith("false_rejection_")}}


def motion(members: int = 60, strangers: int = 60) -> dict:
    """AUC of the nearest sample by motion, of a release of fresh hearts that beat like the members (windows of two seconds from the first frame on), and of the same hearts with beats of their own."""
    people = [simulate_clip(11, number, 0, "alder", frames=112) for number in range(members + strangers)]
    fresh = [simulate_clip(12, number, 0, "alder", frames=112) for number in range(members)]
    rate, length = 32.0, 64

    def embedded(clip: PhantomClip, frames: int | None = None) -> torch.Tensor:
        return embed_motion(resample(clip.frames(), clip.site.fps, rate)[:frames], rate)

    real = [embedded(person) for person in people]
    owner = np.repeat(np.arange(len(real)), [len(rows) for rows in real])
    found = {}
    for name, clips in (("beats of members", [replace(heart, rhythm=person.rhythm) for heart, person in zip(fresh, people, strict=False)]), ("beats of their own", fresh)):
        scores, _ = best_windows(nearest_scores(torch.cat(real), torch.cat([embedded(clip, length) for clip in clips])), owner)
        found[name] = [round(value, 3) for value in membership(name, scores[:members], scores[members:]).auc]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, folders in (("copies", ("study", "out")), ("memoriser", ("out",)), ("motion", ()), ("planted", ("study",))):
        added = verbs.add_parser(verb)
        for folder in folders:
            added.add_argument(folder, type=Path)
    verbs.choices["memoriser"].add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    if options.verb == "memoriser":
        found = memoriser(options.out, options.steps)
    elif options.verb == "motion":
        found = motion()
    elif options.verb == "planted":
        found = planted(Study.open(options.study))
    else:
        shutil.copytree(options.study, options.out)
        study = Study.open(options.out)
        found = {"as it is": told(audit(study))}
        print(json.dumps(found, indent=2), flush=True)
        copy_training_clips(study, NOISE)
        made = study.summary("synthetic")
        study.finish(synthesis.STAGE, made["key"], made["summary"], made["seconds"])  # or the audit would refuse clips that the synthesis did not make
        found["training clips with noise"] = told(audit(study))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
