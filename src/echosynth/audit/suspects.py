"""Which of the clips are copies: what the screens say of them now, and how well these see copies that are planted for the purpose.

`suspects` looks and plants, `name_copies` decides on the scores: a pure function, which benchmarks/null.py calls with simulated ones.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from echosynth.audit.gate import ALL_NEAR, NAMING, NEARER_ERROR
from echosynth.audit.looks import WINDOW, Looks
from echosynth.audit.membership import People
from echosynth.audit.pixels import evenly
from echosynth.cohort.echonet import Cohort
from echosynth.cores import each
from echosynth.generative.objective import Generator, draw_videos
from echosynth.networks.autoencoder import Autoencoder, decode_clip, encode_clip
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.handmade import NoMotion, embed_handmade, embed_motion
from echosynth.privacy.multiple import adjusted, copy_line, excess
from echosynth.privacy.planted import MOVED, NEAR, OTHER_EF, VIDEO_KINDS, Kind, OtherEf, copies, power_curve
from echosynth.privacy.protocols import Protocols
from echosynth.privacy.screen import Rate, Screen, rate, similarity
from echosynth.privacy.tails import Nearest, count_p, nearest_p, nearest_stranger
from echosynth.progress import progress
from echosynth.randomness import normal, numpy_rng, torch_rng
from echosynth.stages.reid import original
from echosynth.study import Study

JUDGES = {"judge": "handmade", "motion": "motion"}  # screens that took no part in the filtering, and their eyes
OTHER_EF_CLIPS = 12  # the generator has to draw each of them


@dataclass(frozen=True)
class Eyes:
    """The networks of a study that look at clips and make them."""

    autoencoder: Autoencoder
    reid: ReidEncoder
    video: Generator


@dataclass(frozen=True)
class Planted:
    """One copy planted: of which patient (a number), of which kind, and what each screen that has an eye for it says, (score, rejected)."""

    patient: int
    kind: Kind
    seen: dict[str, tuple[float, bool]]


@dataclass(frozen=True)
class Strangers:
    """How near held-out patients come to the gallery of a screen.

    scores (M,): all draws of those who calibrate nothing. drawn (K,): one draw of each held-out patient, for the law of the nearest (privacy/tails.py).
    """

    scores: np.ndarray
    drawn: np.ndarray


def suspects(
    study: Study, screened: pd.DataFrame, people: People, synthetic: Looks, real: Looks, cohort: Cohort, eyes: Eyes, quick: bool = False
) -> tuple[pd.DataFrame, dict]:
    """Verdicts on every synthetic clip: the calibrated screen's, those of the judge and of the encoder of motion, which took no part in the filtering, and whether it lies as near as planted copies do.

    `people` and `real` are all clips of the cohort: a copy of a training clip that the gallery lacks would be seen by nobody.
    """
    alpha, seed = study.config.screen.alpha, study.config.seed
    screens = {"calibrated": Protocols.load(study.verified("reid")).calibrated}
    screens |= {name: screen for name, eye in JUDGES.items() if len(synthetic.rows[eye]) and (screen := fit_judge(people, real, eye, alpha))}
    judged = {"calibrated": pd.DataFrame({"score": screened["score"], "p": screened["p"], "kept": screened["calibrated"].astype(bool)})}
    judged |= {name: verdicts(screens[name], synthetic, eye) for name, eye in JUDGES.items() if name in screens}
    known = pd.read_parquet(study.verified("reid", "scores.parquet") / "scores.parquet")
    tested = known.loc[(known["kind"] == "held-out test") & (known["sample"] == "video"), "score"].to_numpy()
    frames = -(-int(screened["frames"].median()) // screens["calibrated"].every)  # of a synthetic clip, that the screen looks at
    strangers = {
        "calibrated": Strangers(tested, screens["calibrated"].one_draw_each(frames, numpy_rng(seed, "audit draws"))),
        "judge": strangers_of(people, real, screens["judge"], int(np.bincount(synthetic.owner["handmade"]).max()), seed),
    }
    planted = _plant(study, people.clips, cohort, eyes, screens, quick)
    table, told = name_copies(screened, judged, screens, strangers, planted, study.config.audit.copy_recall)
    return table, told | {"no_motion": synthetic.no_motion or real.no_motion}


def name_copies(
    screened: pd.DataFrame, judged: dict[str, pd.DataFrame], screens: dict[str, Screen], strangers: dict[str, Strangers], planted: list[Planted], recall: float
) -> tuple[pd.DataFrame, dict]:
    """The verdicts on every synthetic clip as a table, and what the gate has to know of them.

    A clip is named a copy where a screen of `NAMING` scores it at or above the line that the wanted share `recall` of planted near-copies reaches, and above every held-out patient who did not
    calibrate and is no duplicate of a training patient; or where it lies nearer than any stranger comes ("nearer": privacy/tails.py, paid for every clip and screen). "named_p": the chance that strangers, as many as there are clips, would give as many names.

    Args:
        screened: one row a synthetic clip, with its name.
        judged: by screen, score, p and kept, indexed by the place of the clip; a clip too short to move has no row by its motion.

    A second list, "moved", is of clips that score as planted moved copies do and above every held-out patient, by the screen that filtered alone: its encoder has learnt these moves. Strangers are
    among them, one in as many as there are held-out patients or so; "moved_p" says whether they explain them all.
    """
    clips, copied, nearest, seen = len(screened), np.zeros(len(screened), bool), np.ones(len(screened)), []
    table, told = screened.copy(), {"clips": len(screened)}
    for name, found in judged.items():
        if name != "calibrated":
            for column in ("kept", "score", "p"):
                table[f"{name}_{column}"] = found[column].reindex(range(clips)).to_numpy()
        told[name] = _rejected(found, screens[name])
        if name not in NAMING:
            continue
        scores, those = found["score"].reindex(range(clips), fill_value=-1.0).to_numpy(), strangers[name]
        law = nearest_stranger(those.drawn)
        line, assured, caught = _line(name, planted, those.scores[those.scores < law.limit], recall)
        seen.append(caught)
        named = scores >= line
        told[name] |= {
            "copy_threshold": line,
            "line_assured": assured,
            "named": int(named.sum()),
            "strangers": len(those.drawn) - law.duplicates,
            "duplicates": law.duplicates,
            "law_known": law.known,
            "named_p": count_p(int(named.sum()), clips, line, those.drawn),
        }
        copied |= named
        if name == "calibrated":
            told |= _moved(scores, planted, those, law, recall, table["name"])
        nearest = np.minimum(nearest, nearest_p(scores, those.drawn) * len(NAMING))
    nearer = nearest * clips < NEARER_ERROR
    table = table.assign(copy=copied | nearer, moved=table["name"].isin(told["moved"]), nearest_p=nearest, adjusted=adjusted(table["p"].to_numpy()))
    told |= _caught(seen) | {
        "copies": table.loc[table["copy"], "name"].tolist(),
        "nearer": table.loc[nearer, "name"].tolist(),
        "flagged_at_5_percent": int((table["adjusted"] <= 0.05).sum()),
        "power": _power(planted, list(judged)),
    }
    return table, told


def _rejected(found: pd.DataFrame, screen: Screen) -> dict:
    """How many clips a screen rejects, beside what strangers suffer: the count shares the luck of one calibration (privacy/multiple.py)."""
    count, judged = int((~found["kept"]).sum()), len(found)
    return {
        "rejected": rate(count, judged)._asdict(),
        "allowed": screen.level,
        "patients": screen.n_patients,
        "beyond": excess(count, judged, screen.n_patients, screen.level, several=True)._asdict(),
    }


def _moved(scores: np.ndarray, planted: list[Planted], strangers: Strangers, law: Nearest, recall: float, names: pd.Series) -> dict:
    """The clips that score as moved copies do, and the chance that strangers would give as many; none where no moved copy was planted."""
    kinds = pd.DataFrame([(one.kind, one.seen["calibrated"][0]) for one in planted if one.kind.near or one.kind.required], columns=["kind", "score"])
    if not any(kind.required for kind in kinds["kind"]):
        return {"moved": [], "moved_p": 1.0}
    every = np.concatenate([strangers.scores, strangers.drawn])
    line = max(copy_line([group.to_numpy() for _, group in kinds.groupby(kinds["kind"].map(str))["score"]], recall)[0], _beyond(every[every < law.limit]))
    near = scores >= line
    return {"moved": names[near].tolist(), "moved_p": count_p(int(near.sum()), len(scores), line, strangers.drawn)}


def _beyond(strangers: np.ndarray) -> float:
    """The lowest score above all of them: the nearest stranger is not named."""
    return float(np.nextafter(strangers.max(initial=-1.0), 2.0))


def _line(name: str, planted: list[Planted], strangers: np.ndarray, recall: float) -> tuple[float, bool, pd.DataFrame]:
    """The line at or above which a screen names a clip a copy; whether it is assured (privacy/multiple.py); and which planted near-copies are named, patients (P,) by their places in `NEAR`.

    strangers: scores of those who calibrate nothing. A patient's copies are judged by the line that the other patients give: the copies that chose a line lie above it by construction.
    """
    scores = pd.DataFrame([(one.patient, NEAR.index(one.kind), one.seen[name][0]) for one in planted if one.kind in NEAR], columns=["patient", "kind", "score"])
    scores = scores.pivot(index="patient", columns="kind", values="score")
    beyond = _beyond(strangers)

    def line(values: np.ndarray) -> tuple[float, bool]:
        threshold, assured = copy_line(list(values.T), recall)
        return max(threshold, beyond), assured and beyond <= threshold

    values = scores.to_numpy()
    others = [np.delete(values, row, axis=0) for row in range(len(values))]
    lines = np.array([line(rest)[0] if len(rest) else np.inf for rest in others])
    return *line(values), scores >= lines[:, None]


def _caught(seen: list[pd.DataFrame]) -> dict:
    """Of how many patients all planted near-copies are named by one of the screens, and those of the kind that is named least."""
    named = np.logical_or.reduce([one.to_numpy() for one in seen])
    kinds = [NEAR[place] for place in seen[0].columns]
    shares = {f"{kind.name} {kind.strength:g}": rate(int(of_kind.sum()), len(named)) for kind, of_kind in zip(kinds, named.T, strict=True)}
    worst = min(shares, key=lambda kind: shares[kind].share)
    return {"copies_caught": rate(int(named.all(1).sum()), len(named))._asdict(), "worst_kind": {"kind": worst, **shares[worst]._asdict()}}


def fit_judge(people: People, real: Looks, eye: str, alpha: float) -> Screen | None:
    """A screen by this eye: all clips of TRAIN patients in the gallery, VAL patients calibrate, by stills with pieces of their clips that are as long as synthetic ones. None where a side has no row."""
    split, patients = people.clips["split"].to_numpy(), people.clips["patient"].to_numpy()
    gallery = real.rows[eye][torch.from_numpy(np.isin(real.owner[eye], np.flatnonzero(split == "TRAIN")))]
    draws = WINDOW if eye == "handmade" else eye
    calibration = [row for row in np.flatnonzero(split == "VAL") if len(real.of(draws, row))]
    if not len(gallery) or not calibration:
        return None
    return Screen.fit(gallery, [real.of(draws, row) for row in calibration], patients[calibration], alpha)


def verdicts(screen: Screen, looks: Looks, eye: str) -> pd.DataFrame:
    """Score, p and kept of every clip with a row, indexed by its place: what `screen.verdict` says of each, all of them searched together."""
    places, first, frames = np.unique(looks.owner[eye], return_index=True, return_counts=True)
    scores = np.maximum.reduceat(similarity(looks.rows[eye], screen.gallery).numpy(), first) if len(places) else np.empty(0)
    p = np.empty(len(places))
    for count in np.unique(frames):
        p[frames == count] = screen.p_value(scores[frames == count], int(count))
    return pd.DataFrame({"score": scores.astype(float), "p": p, "kept": ~screen.rejects(p)}, index=places)


def strangers_of(people: People, real: Looks, judge: Screen, frames: int, seed: int) -> Strangers:
    """How near held-out patients come to the judge's gallery, by pieces of their clips that are as long as synthetic ones, of which `frames` frames are looked at."""
    split, patients = people.clips["split"].to_numpy(), people.clips["patient"].astype(str).to_numpy()
    best = similarity(real.rows[WINDOW], judge.gallery).numpy()
    owner = real.owner[WINDOW]
    clip_of: dict[str, int] = {}
    for place in numpy_rng(seed, "audit draws").permutation(np.unique(owner)):
        clip_of.setdefault(patients[place], int(place))
    tested = [float(best[owner == place].max()) for place in np.unique(owner) if split[place] == "TEST"]
    drawn = [float(best[owner == place][:frames].max()) for place in clip_of.values()]
    return Strangers(np.array(tested), np.array(drawn))


def _plant(study: Study, clips: pd.DataFrame, cohort: Cohort, eyes: Eyes, screens: dict[str, Screen], quick: bool) -> list[Planted]:
    """Copies of a clip of each of some training patients in all the ways that videos can be copied (`quick`: near-copies alone), and the screens' verdicts on them.

    What is mixed in, or lends its anatomy, is a TEST patient: what is seen of another training patient would count as seen of the copied one.
    """
    options, seed, size = study.config.screen, study.config.seed, 8 * eyes.reid.config.size
    train, strangers = clips[clips["split"] == "TRAIN"], clips[clips["split"] == "TEST"]
    shuffled = train.iloc[numpy_rng(seed, "audit planted").permutation(len(train))]
    chosen = shuffled.drop_duplicates("patient").iloc[: study.config.audit.planted]

    @torch.inference_mode()
    def plant(number: int) -> list[Planted]:
        clip = chosen.iloc[number]
        rng = numpy_rng(seed, f"audit planted {clip['name']}")
        source = original(cohort, clip, options.frames, options.fps, size, rng)
        other = original(cohort, strangers.iloc[int(rng.integers(len(strangers)))], options.frames, options.fps, size, rng) if len(strangers) else source
        others = () if quick else (*MOVED, *VIDEO_KINDS, *(OTHER_EF if number < OTHER_EF_CLIPS and clip["ef"] == clip["ef"] else ()))
        animate = _animate(study, eyes, float(clip["ef"]), number)
        planted = []
        for kind, (made,) in copies([source], [rng], eyes.autoencoder, (*NEAR, *others), [other], animate):
            seen = encode_clip(eyes.autoencoder, screens["calibrated"].looked_at(made))
            looks = {"calibrated": eyes.reid.embed(seen).float().cpu(), "judge": embed_handmade(evenly(made))}
            if "motion" in screens and (moving := _moving(made, min(options.fps, clip["fps"]))) is not None:
                looks["motion"] = moving
            verdicts = {name: screens[name].verdict(rows) for name, rows in looks.items()}
            planted.append(Planted(number, kind, {name: (verdict.score, not verdict.kept) for name, verdict in verdicts.items()}))
        return planted

    planted = []
    with progress("planted copies", len(chosen)) as advance:
        for found in each(plant, range(len(chosen)), eyes.autoencoder, eyes.reid, eyes.video):
            planted += found
            advance()
    return planted


def _moving(clip: np.ndarray, fps: float) -> Tensor | None:
    try:
        return embed_motion(clip, fps)
    except NoMotion:
        return None


def _animate(study: Study, eyes: Eyes, ef: float, number: int) -> OtherEf:
    """Makes a clip of the same anatomy at another EF, as a careless user of the video model would: a patient's own frame for the anchor."""
    options, seed = study.config.synthesis, study.config.seed

    def animate(clip: np.ndarray, miss: float, rng: np.random.Generator) -> np.ndarray:
        anchor = encode_clip(eyes.autoencoder, clip[:1])
        wanted = ef + miss if ef + miss <= 90 else ef - miss
        shape = (eyes.video.config.frames, *anchor.shape[1:])

        def noise(window: int) -> Tensor:
            return normal(seed, "audit other EF", number, int(miss), window, shape=shape)[None].to(anchor.device)

        labels = torch.full((1, eyes.video.config.labels), wanted / 100, device=anchor.device)
        rngs = [torch_rng(seed, "audit other EF steps", number, int(miss))]
        latents = draw_videos(eyes.video, noise, anchor, labels, len(clip), options.steps, options.guidance, rngs)
        return decode_clip(eyes.autoencoder, latents[0])

    return animate


def _power(planted: list[Planted], screens: list[str]) -> list[dict]:
    """How many copies of each kind and strength each screen rejects, with intervals: one copy of a kind a patient. The first row of a screen is of patients of whom it rejects every near-copy."""
    found = []
    for name in screens:
        seen = [one for one in planted if name in one.seen]
        near = pd.Series({(one.patient, one.kind): one.seen[name][1] for one in seen if one.kind.near}, dtype=bool)
        if len(near):
            every = near.groupby(level=0).all()
            found.append({"screen": name, "kind": ALL_NEAR, "strength": 1.0, "near": True, "required": False} | rate(int(every.sum()), len(every))._asdict())
        curve: dict[Kind, Rate] = power_curve((one.kind, one.seen[name][1]) for one in seen)
        found += [{"screen": name, "kind": kind.name, "strength": kind.strength, "near": kind.near, "required": kind.required} | share._asdict() for kind, share in curve.items()]
    return found
