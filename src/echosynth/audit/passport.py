"""The passport of a release: one offline page and its JSON twin, for the board; and a copy without anything on single samples, for the public."""

import copy
from pathlib import Path

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from echosynth.audit.gate import ALL_NEAR, NO_COPY, OF_CLIPS, ends_of
from echosynth.files import atomic_file, write_json
from echosynth.privacy.attacks import WORST
from echosynth.report import figures
from echosynth.report.facts import without_paths
from echosynth.report.redaction import FEWEST, public_options
from echosynth.study import Study

LEDGER = "releases.json"
SCREENS = {"calibrated": "the screen that filtered", "judge": "screen by hand-made features", "motion": "screen by motion"}
THREATS = (
    (
        "The clips alone",
        "Somebody who holds the released clips, and perhaps a patient's own echocardiogram, and asks whether that patient was in the source cohort, or what else the release tells of the patient.",
    ),
    ("The clips and the weights", "The same, with the weights of the generators as well: only if these are shared. They tell more than the clips do."),
    ("Out of scope", "Who knows that a cohort took part at all; what several releases tell together beyond the ledger below; attacks that nobody has thought of."),
)
FILTER = ("sensitivity", "specificity", "consistency")  # of the screen that filtered (arXiv 2510.01793)
SCORES = ("copy_threshold", "published_tau")  # cosines of single patients, or of two
NOT_EVALUATED = "the stage evaluation was not carried out on these clips"
NO_PROOF = "This passport is evidence that known attacks were tried and how far they got. It is not a proof of anonymity."


def ledger(study: Study) -> list[dict]:
    """Earlier releases of this study, oldest first."""
    try:
        return study.sealed(f"audit/{LEDGER}", "restore it: without it nobody knows what was handed out")["releases"]
    except FileNotFoundError:
        return []


def public(found: dict) -> dict:
    """What of an audit may be published: no name, no score of a single sample or patient, and no word of the owner's (a reason that a stage gives may name a file or an option)."""
    told = copy.deepcopy({key: value for key, value in found.items() if key not in ("bindings", "artefacts")})
    if "manifest" in told:
        told["manifest"] = {name: {"size": entry["size"], "sha256": entry["sha256"]} for name, entry in told["manifest"].items()}
    if "reason" in told.get("ef_by_stratum", {}):
        told["ef_by_stratum"]["reason"] = NOT_EVALUATED
    for part in (told.get("planted", {}), *(told["screening"].get(name, {}) for name in SCREENS)):
        for key in SCORES:
            part.pop(key, None)
    for attack in told["attacks"]:  # of few patients the highest 1 % are one, whose score the lead gives away
        if min(attack["members"], attack["strangers"]) * WORST < FEWEST:
            attack["worst"]["lead"] = None
    for key in ("copies", "nearer", "moved"):
        told["screening"][key] = len(found["screening"][key])
    words = f"{told['screening']['copies']} of {told['screening']['clips']} clips lie as near to a training clip as planted copies do"
    for check in told["gate"]["checks"]:
        if check["name"] == NO_COPY:
            check["words"] = words
    for verdict in (told["gate"]["clips"], told["gate"]["weights"]):
        verdict["reasons"] = [f"{NO_COPY}: {words}" if reason.startswith(NO_COPY) else reason for reason in verdict["reasons"]]
    return told


def _power(found: dict) -> Markup:
    """The chart of planted copies, by screen and kind."""
    rows = found["screening"]["power"]
    kinds = list(dict.fromkeys((row["kind"], row["strength"]) for row in rows))
    colours = {"calibrated": figures.REAL, "judge": figures.SYNTHETIC, "motion": figures.EXTRA}
    groups = {}
    for screen, colour in colours.items():
        known = {(row["kind"], row["strength"]): row for row in rows if row["screen"] == screen}
        if known:
            columns = (np.array([known[kind][name] if kind in known else np.nan for kind in kinds]) for name in ("share", "low", "high"))
            groups[SCREENS[screen]] = (*columns, colour)
    return figures.power(groups, [kind if kind == ALL_NEAR else f"{kind} {strength:g}" for kind, strength in kinds])


def _ends(found: dict) -> str:
    """Where copies cease to be caught by the screen that filtered: clips, changed in all the ways tried."""
    rows = [row | {"recall": row["share"]} for row in found["screening"]["power"] if row["screen"] == "calibrated" and row["kind"] != ALL_NEAR]
    return ends_of(rows)


def _attacks(found: dict) -> Markup:
    """The chart of the membership attacks."""
    known = [attack for attack in found["attacks"] if attack["auc"]["value"] is not None]
    names = [f"{attack['name']} ({'clips' if attack['threat'] == 'dataset' else 'weights'})" for attack in known]
    return figures.forest(names, *(np.array([attack["auc"][key] for attack in known]) for key in ("value", "low", "high")), found["thresholds"]["max_auc"])


def write_passport(study: Study, found: dict, folder: Path, override: str = "", redacted: bool = False) -> list[Path]:
    """Writes passport.html and passport.json into `folder`: `redacted` is the copy for the public. `override` is the reason for which a closed gate was passed."""
    told = {
        "no_proof": NO_PROOF,
        "unit_of_privacy": "the patient, with all clips",
        "override": override,
        "earlier_releases": ledger(study),
        **(public(found) if redacted else found),
    }
    told["configuration"] = public_options(study.config) if redacted else without_paths(study.config.model_dump(mode="json"))
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("echosynth.audit"), PackageLoader("echosynth.report")]), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    parts = [(title, [check for check in told["gate"]["checks"] if (check["about"] == OF_CLIPS) == clips]) for title, clips in (("The clips", True), ("The weights", False))]
    page = environment.get_template("passport.html").render(
        found=told, threats=THREATS, redacted=redacted, power=_power(found), ends=_ends(found), attacks=_attacks(found), parts=[part for part in parts if part[1]]
    )
    with atomic_file(folder / "passport.html") as partial:
        partial.write_text(page, encoding="utf-8")
    write_json(folder / "passport.json", told)
    return [folder / "passport.html", folder / "passport.json"]
