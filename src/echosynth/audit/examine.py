"""The verb `audit`: looks at the clips that lie in the study's synthetic cohort now, whatever was screened when they were made, and leaves everything it found in STUDY/audit."""

from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
import torch

from echosynth import __version__
from echosynth.audit import harms
from echosynth.audit.adherence import ef_by_stratum
from echosynth.audit.chain import MODELS, bindings, chain, manifest_of_release, splits
from echosynth.audit.gate import decide
from echosynth.audit.looks import look
from echosynth.audit.membership import People, dataset_attacks, left_out, weight_attacks
from echosynth.audit.passport import FILTER, LEDGER, write_passport
from echosynth.audit.pixels import learn_pixels
from echosynth.audit.suspects import Eyes, suspects
from echosynth.cohort.check import TRUTH, VIDEOS
from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.errors import InputError
from echosynth.files import atomic_file
from echosynth.manifest import Manifest, difference_once, manifest_of
from echosynth.networks.base import Network
from echosynth.networks.kinds import kind_of
from echosynth.privacy.canaries import Canaries
from echosynth.privacy.canaries import audit as guess_coins
from echosynth.privacy.risks import none_seen
from echosynth.randomness import numpy_rng
from echosynth.seals import write_sealed
from echosynth.stages.budget import GENERATORS, statement
from echosynth.stages.screening import judge_clips
from echosynth.stages.start import canaries_of, check_imported, cohort_of, initial, store_of, trained
from echosynth.study import Study

RESULT = "audit.json"
FULL, QUICK = "full", "quick"
QUICK_STEPS = 100  # of the encoder of pixels


def audit(study: Study, quick: bool = False) -> dict:
    """Screens, attacks and measures what lies in `synthetic/` now, decides (gate.py), and returns what is in STUDY/audit/audit.json.

    `quick` leaves the weights alone and plants near-copies only: a first verdict on the clips, on which nothing is released.
    Leaves clips.parquet beside it, a row a synthetic clip with the verdicts on it: private, scores leak what they compare with; and the passport.
    audit.json is sealed and bound to what it judged (chain.py). Raises InputError when the study has no synthetic cohort, or one with a file
    that is damaged or that the synthesis did not make, before the audit or during it.
    """
    folder, section, seed = study.private_folder("audit"), study.config.audit, study.config.seed
    if quick:
        section = section.model_copy(update={"weights": False, "pixel_steps": min(section.pixel_steps, QUICK_STEPS)})
    manifest = manifest_of_release(study)
    cohort, made = cohort_of(study), read_cohort(study.folder("synthetic"), splits=False)
    _all_listed(made, manifest)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = {name: trained(study, name, device) for name in ("autoencoder", "reid", "image", "video")}
    everybody = People(cohort.with_phenotypes(cohort.clips.assign(patient=cohort.clips["patient"].astype(str))).reset_index(drop=True))
    attacked = _attacked(everybody, canaries_of(study), section.clips, seed)
    people = People(everybody.clips[attacked].reset_index(drop=True))

    screened = judge_clips(study, made, "calibrated")
    paths = [cohort.path(name) for name in everybody.clips["name"]], [made.path(name) for name in made.clips["name"]]
    pixels = learn_pixels(paths[1], folder / "pixels", section.pixel_steps, seed)
    held_out, frames = (everybody.clips["split"] != "TRAIN").to_numpy(), int(screened["frames"].median())
    untaught = _public(study, device, ("autoencoder", "reid"))
    siamese = (untaught["autoencoder"], untaught["reid"]) if len(untaught) == 2 else None
    seen = [siamese, pixels, 8 * networks["reid"].config.size, study.config.screen.fps]
    synthetic = look(paths[1], *seen, "synthetic clips", device)
    every = look(paths[0], *seen, "real clips", device, whole=attacked, cut=held_out, frames=frames)
    real = every.only(np.flatnonzero(attacked))
    table, about = suspects(study, screened, everybody, synthetic, every, cohort, Eyes(*(networks[name] for name in ("autoencoder", "reid", "video"))), quick)
    with atomic_file(folder / "clips.parquet") as partial:
        table.to_parquet(partial, index=False)

    by_clips, scores = dataset_attacks(people, real, synthetic, made.clips["ef"].to_numpy(float), seed)
    attacks = by_clips + (
        weight_attacks(people, store_of(study), {name: networks[name] for name in GENERATORS}, _public(study, device, GENERATORS), study.config.video.fps, seed)
        if section.weights
        else []
    )
    found = {
        "version": __version__,
        "form": QUICK if quick else FULL,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "chain": chain(study, manifest),
        "cohort": {"simulated": (cohort.root / TRUTH).exists()},
        "splits": splits(cohort),
        "screening": about,
        "planted": {
            key: value for key, value in study.summary("reid")["summary"].items() if key.startswith(("planted", "false_rejection", "published", "auc", "warning", "level", *FILTER))
        },
        "attacks": [attack.as_dict() for attack in attacks],
        "attacks_left_out": left_out(real, synthetic),
        "harms": harms.harms(everybody, every, synthetic, made.clips["ef"].to_numpy(float), seed),
        "ef_by_stratum": ef_by_stratum(study),
        "canaries": _canaries(study, scores),
        "differential_privacy": statement(study),
        "none_seen": none_seen(len(made.clips))._asdict(),
        "thresholds": section.model_dump(mode="json"),
    }
    found["gate"] = asdict(decide(found, section))
    if manifest_of_release(study) != manifest:
        raise InputError(f"{made.root}: was changed during the audit; audit again")
    write_passport(study, found, folder)
    found |= {"bindings": bindings(study, manifest), "manifest": manifest}
    found["artefacts"] = manifest_of(folder, without=(RESULT, LEDGER))
    write_sealed(folder / RESULT, found, study.seal_key)
    return found


def _all_listed(made: Cohort, manifest: Manifest) -> None:
    """Raises InputError for a clip that FileList.csv does not list: nobody would look at it."""
    listed = {f"{VIDEOS}/{made.path(name).name}" for name in made.clips["name"]}
    for name in sorted(name for name in manifest if name.startswith(f"{VIDEOS}/") and name not in listed):
        raise InputError(f"{made.root / name}: not in FileList.csv; make the stage synthetic again")


def last_audit(study: Study, forms: tuple[str, ...] = (FULL,)) -> dict:
    """What the last audit found.

    Raises InputError when it was of another form than `forms`, when there was none, when its file was edited, and when anything that its verdict holds for is no longer what it saw, with its name.
    """
    again = f"run: echosynth audit {study.root}"
    try:
        found = study.sealed(f"audit/{RESULT}", again)
    except FileNotFoundError:
        raise InputError(f"{study.root}: no audit yet; {again}") from None
    if found["form"] not in forms:
        raise InputError(f"{study.root}: the last audit was the {found['form']} form, which is no ground for a release; {again}")
    manifest = manifest_of_release(study)
    for stage in MODELS:
        study.verified(stage)
    now = bindings(study, manifest)
    for name in sorted(found["bindings"].keys() | now.keys()):
        if found["bindings"].get(name) != now.get(name):
            raise InputError(f"{study.root}: the audit holds no longer, because {name} changed after it; {again}")
    for name, entry in found["artefacts"].items():
        if what := difference_once(study.folder("audit") / name, entry):
            raise InputError(f"{study.folder('audit') / name}: {what} since the audit; {again}")
    return found


def _attacked(everybody: People, canaries: Canaries | None, most: int, seed: int) -> np.ndarray:
    """Which clips the attacks look at, bool: at most `most` of members and as many of strangers, whole patients, and all canaries: those left out are strangers."""
    kept = list(canaries.patients) if canaries else []
    for member in (True, False):
        side = everybody.clips[(everybody.clips["split"] == "TRAIN") == member]
        order = numpy_rng(seed, "audited", int(member)).permutation(np.unique(side["patient"]))
        counts = side.groupby("patient").size().loc[order].cumsum()
        kept += counts[(counts <= most) | (np.arange(len(counts)) == 0)].index.tolist()
    return everybody.clips["patient"].isin(kept).to_numpy()


def _public(study: Study, device: torch.device, names: tuple[str, ...]) -> dict[str, Network]:
    """The networks of these names as their training began, where that was not from nothing: they know no patient of the study."""
    networks = {name: getattr(study.config, name).network for name in names}
    for name in networks:
        check_imported(study, name)
    found = {name: initial(study.config.init, name, kind_of(network), network, tell=False) for name, network in networks.items()}
    return {name: network.to(device).eval() for name, network in found.items() if network is not None}


def _canaries(study: Study, scores: dict) -> dict | None:
    """The lower bound on epsilon that the attacks on the clips show, the best of them paid for (Bonferroni); None where no coin was tossed."""
    tossed = canaries_of(study)
    if tossed is None:
        return None
    bounds = []
    for name, found in scores.items():
        known = dict(zip(found.patients.tolist(), found.scores, strict=True))
        if all(patient in known for patient in tossed.patients):
            confidence = 1 - 0.05 / len(scores)
            bounds.append(guess_coins(np.array([known[patient] for patient in tossed.patients]), tossed.inside, confidence=confidence).as_dict() | {"attack": name})
    return max(bounds, key=lambda bound: bound["epsilon"]) if bounds else None
