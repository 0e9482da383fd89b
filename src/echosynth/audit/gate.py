"""The gate: which checks a release has to pass, and whether it does. One rule for all of them (`RULE`)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import log, sqrt

from echosynth.config import AuditSection
from echosynth.privacy.attacks import auc_interval
from echosynth.privacy.multiple import excess
from echosynth.privacy.risks import risk_of
from echosynth.privacy.screen import Rate, rate
from echosynth.privacy.tails import LEAST

NO_COPY = "No copy of a training clip"
CANARIES, PRIVACY, WEIGHTS = "Canaries", "Differential privacy", "Attacks on the weights"
MOTION = "Motion: a beat copied to another heart"
ALL_NEAR = "every near-copy of a patient"
PLANTED, MOVED_COPIES, COPYING = "Planted copies are caught", "Moved copies are caught", "Data copying (C_T)"
NAMING = ("calibrated", "judge")  # screens that name copies: strangers beat alike, so motion names nobody
REQUIRABLE = {"canaries": CANARIES, "dp": PRIVACY, "weights": WEIGHTS}
PASSED, UNCLEAR, FAILED, SKIPPED = OUTCOMES = ("passed", "unclear", "failed", "skipped")
OF_CLIPS, OF_WEIGHTS = "clips", "weights"

ERROR = 0.01  # chance that a verdict fails a release of fresh hearts, all its checks together
NEARER_ERROR, NAMED_ERROR = 0.003, 0.002  # of it, for single clips that lie nearer than strangers come, and for more of them than strangers explain
COPYING_ERROR = 0.00135  # of it, for a z below -3
PLANTED_ERROR = 0.001  # of it, for all kinds of planted copies together
UNLIKE = 3.0  # C_T above which the release is unlike hearts, and copies in it can hide
RULE = (
    "Passed: the whole 95 % interval of the figure lies on the good side of the limit. "
    "Failed: the whole 95 % interval lies beyond the limit, and the figure is farther from that of fresh hearts than chance explains: all checks of the clips together fail a release of fresh "
    "hearts in at most 1 % of cases, and all checks of the weights in at most 1 % besides. "
    "Unclear: neither is shown, as a rule because there are too few patients. Skipped: not examined. A verdict is open when no check of it failed. "
    "One unclear check closes it all the same: clips that are named copies where too few strangers are known to say whether chance would name as many. "
    "What else is unclear or skipped is unknown, not fine."
)


@dataclass(frozen=True)
class Check:
    """One check: what it asks, its outcome (one of `OUTCOMES`), the figures in words, the limit in words (empty: none), which verdict it belongs to, and whether it closes that verdict though
    it is unclear."""

    name: str
    outcome: str
    words: str
    limit: str = ""
    about: str = OF_CLIPS
    closes: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether something may be handed out: `open`, or the reasons why not."""

    open: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Gate:
    """The checks, how many have each outcome, and two verdicts: a release of clips is judged by what clips give away, sharing weights by what the weights give away besides."""

    rule: str
    checks: tuple[Check, ...]
    counts: dict[str, int]
    clips: Verdict
    weights: Verdict


def decide(found: dict, section: AuditSection) -> Gate:
    """The checks on what an audit found (examine.py) and the two verdicts, by `RULE`. A check that is required and was skipped counts as failed."""
    attacks = [[attack for attack in found["attacks"] if (attack["threat"] == "dataset") == clips] for clips in (True, False)]
    screens = [("Calibrated screen, now", "calibrated"), ("Judge that took no part in the filtering", "judge"), (MOTION, "motion")]
    dangers = [("Singling out", "singling_out"), ("Linkability", "linkability"), ("Inference of the EF", "inference")]
    # Intervals so wide that all tests whose figure is a sample's share what the special ones leave. Canaries take none of it: of a model without a leak their bound is 0, far below the limit.
    left = ERROR - NEARER_ERROR - NAMED_ERROR - COPYING_ERROR - PLANTED_ERROR
    tests = [sum(map(_tests, of_threat)) for of_threat in attacks]
    wide, wide_weights = 1 - 2 * left / (tests[0] + len(screens) + len(dangers)), 1 - 2 * ERROR / max(tests[1], 1)
    rates = _planted_rates(found["planted"], found["screening"].get("power", []))
    moved = _moved_rates(found["planted"], found["screening"].get("power", []))
    wide_planted = 1 - 2 * PLANTED_ERROR / max(len(rates) + len(moved), 1)
    checks = [
        _splits(found["splits"], found["screening"]),
        _no_copy(found["screening"], section),
        *(_rejections(name, found["screening"].get(key), section, wide, found["screening"].get("no_motion", "")) for name, key in screens),
        _planted(found["planted"], rates, section, wide_planted),
        _moved(moved, section, wide_planted),
        *(_attack(attack, section, wide) for attack in attacks[0]),
        *(Check(f"Membership, clips alone: {name}", SKIPPED, why) for name, why in found.get("attacks_left_out", {}).items()),
        *(_harm(name, found["harms"].get(key), section, wide) for name, key in dangers),
        _copying(found["harms"]["data_copying"], section),
        _canary(found["canaries"], section),
        _private(found["differential_privacy"], section),
        *(replace(_attack(attack, section, wide_weights), about=OF_WEIGHTS) for attack in attacks[1]),
    ]
    if not section.weights:
        checks.append(Check(WEIGHTS, SKIPPED, "audit.weights is off: nothing is known of what the weights give away", about=OF_WEIGHTS))
    required = {REQUIRABLE[name] for name in section.required}
    checks = [
        replace(c, outcome=FAILED, words=f"required (audit.required), and skipped: {c.words}", about=OF_CLIPS) if c.outcome == SKIPPED and c.name in required else c
        for c in checks
    ]
    counts = Counter(check.outcome for check in checks)
    failed = {about: tuple(f"{c.name}: {c.words}" for c in checks if (c.outcome == FAILED or c.closes) and c.about == about) for about in (OF_CLIPS, OF_WEIGHTS)}
    unknown = () if section.weights and attacks[1] else ("the weights were not attacked (audit.weights): do not share them",)
    of_weights = failed[OF_CLIPS] + failed[OF_WEIGHTS] + unknown  # whoever has the weights can draw the clips
    return Gate(
        RULE, tuple(checks), {outcome: counts[outcome] for outcome in OUTCOMES}, Verdict(not failed[OF_CLIPS], failed[OF_CLIPS]), Verdict(not of_weights, of_weights)
    )


def _outcome(low: float, high: float, shown_low: float, limit: float, fresh: float = 0.0) -> str:
    """Of a figure that is bad above its limit: `low` to `high` is its 95 % interval, `shown_low` the lower end of the wide one, `fresh` what fresh hearts have."""
    return FAILED if low > limit and shown_low > fresh else PASSED if high <= limit else UNCLEAR


def _alone(outcome: str, low: float, limit: float) -> str:
    return "; beyond the limit by itself, but of so many checks chance puts one there" if outcome == UNCLEAR and low > limit else ""


def _splits(splits: dict, screening: dict) -> Check:
    name, limit = "Splits share no patient", "0 patients in two splits"
    sides = ", ".join(f"{split} {part['patients']} patients" for split, part in splits["of_split"].items())
    if splits["in_two_splits"]:
        return Check(name, FAILED, f"{splits['in_two_splits']} patients are in two splits, so no figure here can be trusted", limit)
    if not splits["patients_known"]:
        words = f"the cohort has no patients.csv: every clip was taken for a patient of its own, and a patient with two clips may be in two splits ({sides})"
        return Check(name, UNCLEAR, words, limit)
    if duplicates := max(screening[name]["duplicates"] for name in NAMING):
        words = f"{duplicates} held-out patients lie as near to a training clip as copies do: see whether a patient, or a clip, is in the cohort twice ({sides})"
        return Check(name, UNCLEAR, words, limit)
    return Check(name, PASSED, sides, limit)


def _no_copy(screening: dict, section: AuditSection) -> Check:
    """Fails where a clip lies nearer to a training clip than strangers come, or more clips lie as near as planted copies, or as moved ones, than strangers explain. Where the law of the strangers is not known, nobody
    can say what chance would name: then it is unclear, and closes the verdict where a clip is named, or where there are strangers enough and they have no law."""
    told = [screening[name] for name in NAMING]
    copies, nearer, seen, worst = screening["copies"], screening["nearer"], screening["copies_caught"], screening["worst_kind"]
    words = f"{len(copies)} of {screening['clips']} clips lie as near to a training clip as planted copies do{_names(copies)}"
    if nearer:
        words += f"; {len(nearer)} of them nearer than any stranger comes{_names(nearer)}"
    chances = [*(one["named_p"] for one in told), screening["moved_p"]]
    many = any(chance < NAMED_ERROR / len(chances) for chance in chances)
    unknown = [one for one in told if not one["law_known"]]
    if unknown:
        words += f"; {min(one['strangers'] for one in unknown)} strangers, too few or too much alike to say how many chance would name"
    elif copies:
        words += f"; strangers would give as many with a chance of {min(one['named_p'] for one in told):.2g}"
    if screening["moved"]:
        words += f"; {len(screening['moved'])} as near as moved copies do, as many by chance with {screening['moved_p']:.2g}{_names(screening['moved'])}"
    if duplicates := max(one["duplicates"] for one in told):
        words += f"; {duplicates} held-out patients were left out of the strangers, as near as copies are"
    words += f"; near-copies of all kinds are named of {_floor(seen['share'])} % ({_floor(seen['low'])} to {_floor(seen['high'])}) of {seen['count']} patients"
    words += f", of the worst kind, {worst['kind']}, {_floor(worst['share'])} %"
    assured = any(one["line_assured"] for one in told) or seen["low"] >= section.copy_recall
    if not assured:
        words += f": too few patients to say that {100 * section.copy_recall:g} % would be"
    outcome = FAILED if nearer or many else UNCLEAR if copies or unknown or not assured else PASSED
    return Check(NO_COPY, outcome, words, "0 clips", closes=any(one["named"] or one["strangers"] >= LEAST for one in unknown))


def _names(names: list[str]) -> str:
    return f": {', '.join(names[:5])}{' and more' if len(names) > 5 else ''}" if names else ""


def _rejections(name: str, told: dict | None, section: AuditSection, wide: float, no_motion: str = "") -> Check:
    limit = f"{100 * section.max_excess:g} % beyond strangers"
    if told is None:
        return Check(name, SKIPPED, f"no clip shows its motion{no_motion and f': {no_motion}'}", limit)
    rejected, beyond = told["rejected"], told["beyond"]
    count = round(rejected["share"] * rejected["count"])
    shown = excess(count, rejected["count"], told["patients"], told["allowed"], several=True, confidence=wide).low
    outcome = _outcome(beyond["low"], beyond["high"], shown, section.max_excess)
    words = (
        f"{rejected['share'] * 100:.1f} % rejected, {told['allowed'] * 100:.1f} % is what strangers suffer ({told['patients']} patients calibrate): "
        f"{beyond['share'] * 100:.1f} % ({beyond['low'] * 100:.1f} to {beyond['high'] * 100:.1f}) beyond them"
    )
    return Check(name, outcome, words + _alone(outcome, beyond["low"], section.max_excess), limit)


def _planted_rates(planted: dict, power: list[dict]) -> dict[str, Rate]:
    """Patients of whom every near-copy is caught by the screen that filtered: of images as the stage reid planted them, of clips as this audit did."""
    rates = {}
    if planted.get("planted_recall_image") is not None and planted.get("planted_patients_image"):
        rates["images"] = rate(planted["planted_recall_image"] * planted["planted_patients_image"], planted["planted_patients_image"])
    for row in power:
        if row["screen"] == "calibrated" and row["kind"] == ALL_NEAR:
            rates["clips"] = _rate_of(row)
    return rates


def _moved_rates(planted: dict, power: list[dict]) -> dict[str, Rate]:
    """Patients whose copy of a required kind is caught by the screen that filtered, by kind: of images as the stage reid planted them, of clips as this audit did."""
    images = [row for row in planted.get("planted", []) if row["sample"] == "image"]
    clips = [row | {"recall": row["share"], "patients": row["count"]} for row in power if row["screen"] == "calibrated"]
    return {
        f"{row['kind']} {row['strength']:g}, {what}": Rate(row["recall"], row["low"], row["high"], row["patients"])
        for what, rows in (("images", images), ("clips", clips))
        for row in rows
        if row["required"]
    }


def _rate_of(row: dict) -> Rate:
    return Rate(*(row[key] for key in ("share", "low", "high", "count")))


def _recalls(rates: Iterable[Rate], limit: float, wide: float) -> str:
    """The outcome of several recalls that all have to reach a limit: the weakest decides."""
    rates = list(rates)
    beyond = min(rate(found.share * found.count, found.count, wide).high for found in rates)
    return FAILED if beyond < limit else PASSED if min(found.low for found in rates) >= limit else UNCLEAR


def _planted(planted: dict, rates: dict[str, Rate], section: AuditSection, wide: float) -> Check:
    """Of images and of clips; the weaker of the two decides."""
    limit = f"{section.min_recall * 100:g} % of patients, every near kind"
    if not rates:
        return Check(PLANTED, FAILED, "no copy was planted", limit)
    words = "; ".join(f"{what}: every near-copy is caught of {_share(r)}" for what, r in rates.items())
    if worst := planted.get("planted_worst"):
        words += f"; worst kind: {worst['kind']}, {_floor(worst['recall'])} % ({worst['sample']}s)"
    ends = ends_of(planted.get("planted", []))
    return Check(PLANTED, _recalls(rates.values(), section.min_recall, wide), (f"{ends}. Mildest copies: " if ends else "") + words, limit)


def _moved(rates: dict[str, Rate], section: AuditSection, wide: float) -> Check:
    """Copies that the same patient is still seen in: shifted, enlarged, turned, amplified, smoothed, reversed. The worst kind decides."""
    limit = f"{section.min_moved * 100:g} % of patients, the worst kind"
    if not rates:
        return Check(MOVED_COPIES, SKIPPED, "no moved copy was planted", limit)
    worst = min(rates, key=lambda kind: rates[kind].low)
    clips = "" if any(kind.endswith("clips") for kind in rates) else "; of images alone, no moved clip was planted"
    words = f"{len(rates)} kinds; the worst, {worst}: caught of {_share(rates[worst])}{clips}"
    return Check(MOVED_COPIES, _recalls(rates.values(), section.min_moved, wide), words, limit)


def _share(found: Rate) -> str:
    return f"{_floor(found.share)} % ({_floor(found.low)} to {_floor(found.high)}) of {found.count} patients"


def ends_of(rows: list[dict], wanted: float = 0.95) -> str:
    """Where each line of ever stronger changes ends: the first strength of which fewer than `wanted` are caught, in words, the share rounded down. Empty without rows."""
    lines: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        lines.setdefault((row["kind"], row.get("sample", "")), []).append(row)
    ends, reached = [], []
    for (kind, sample), line in lines.items():
        short = next((row for row in line if row["recall"] < wanted), None)
        where = f"{kind}{f', {sample}s' if sample else ''}"
        if short is None:
            reached.append(f"{where} to {line[-1]['strength']:g}")
        else:
            ends.append(f"{where} at {short['strength']:g} ({_floor(short['recall'])} %)")
    if not lines:
        return ""
    ended = f"fewer than {100 * wanted:g} % are caught from: {', '.join(ends)}" if ends else f"{100 * wanted:g} % or more are caught at every strength tried"
    return ended + (f"; caught as far as tried: {', '.join(reached)}" if ends and reached else "")


def _floor(share: float) -> str:
    """Percent, rounded down: a recall is not flattered."""
    return f"{int(100 * share + 1e-9)}"


def _knows_few_alarms(attack: dict) -> bool:
    """Whether there are strangers enough for the rate of members caught at few false alarms: else its line is the highest score of a stranger, and says nothing of so few."""
    return attack["strangers"] * attack["caught"][-1]["allowed"] >= 1


def _tests(attack: dict) -> int:
    """By how many one-sided tests an attack can fail: its AUC on either side, and the members caught."""
    return 0 if attack["auc"]["value"] is None else 2 + _knows_few_alarms(attack)


def _attack(attack: dict, section: AuditSection, wide: float) -> Check:
    """By the AUC, on either side: members who score lower than strangers are known by that as well. And by the members caught at few false alarms."""
    auc, caught, members, strangers = attack["auc"], attack["caught"][-1], attack["members"], attack["strangers"]
    name = f"Membership, {'clips alone' if attack['threat'] == 'dataset' else 'with the weights'}: {attack['name']}"
    limit = f"AUC {1 - section.max_auc:g} to {section.max_auc:g}; {100 * section.max_caught:g} % caught"
    if auc["value"] is None:
        return Check(name, SKIPPED, "no score", limit)
    words = f"AUC {auc['value']:.2f} ({auc['low']:.2f} to {auc['high']:.2f}), {members} members, {strangers} strangers; "
    words += f"{caught['members']['share'] * 100:.1f} % of members caught at {caught['allowed'] * 100:g} % false alarms"
    shown = auc_interval(auc["value"], members / attack["excess"], strangers / attack["excess"], wide)
    above = _outcome(auc["low"], auc["high"], shown.low, section.max_auc, fresh=0.5)
    below = _outcome(1 - auc["high"], 1 - auc["low"], 1 - shown.high, section.max_auc, fresh=0.5)
    outcome = _worst(above, below)
    words += _alone(outcome, max(auc["low"], 1 - auc["high"]), section.max_auc)
    if auc["high"] < 0.5:
        words += "; members score lower than strangers: the release avoids them"
    if not _knows_few_alarms(attack):
        return Check(name, _worst(outcome, UNCLEAR), words + f", too few strangers to know {caught['allowed'] * 100:g} %", limit)
    # The line was put on the strangers: members above it share its luck.
    hits, false = round(caught["members"]["share"] * members), round(caught["strangers"]["share"] * strangers)
    level = (false + 1) / (strangers + 1)
    beyond = excess(hits, members, strangers, level)
    second = _outcome(beyond.low, beyond.high, excess(hits, members, strangers, level, confidence=wide).low, section.max_caught)
    return Check(name, _worst(outcome, second), words, limit)


def _worst(*outcomes: str) -> str:
    return max(outcomes, key=(PASSED, UNCLEAR, FAILED).index)


def _harm(name: str, told: dict | None, section: AuditSection, wide: float) -> Check:
    limit = f"risk {section.max_risk:g}"
    if told is None or told["risk"] is None:
        return Check(name, SKIPPED, "too few patients or clips that are long enough", limit)
    train, control = told["train"], told["control"]
    words = f"risk {told['risk']:.2f} ({told['low']:.2f} to {told['high']:.2f}): {train['share'] * 100:.0f} % of {train['count']} training patients, {control['share'] * 100:.0f} % of held-out ones"
    shown = risk_of(train["share"], train["count"], control["share"], control["count"], wide).low
    outcome = _outcome(told["low"], told["high"], shown, section.max_risk)
    return Check(name, outcome, words + _alone(outcome, told["low"], section.max_risk), limit)


def _copying(told: dict, section: AuditSection) -> Check:
    """z is a test by itself, and fails below its limit. It passes where besides the share of pairs in which the synthetic clip is the nearer one is shown to be small; but not above `UNLIKE`: clips
    that are unlike hearts lie far from everything, and outweigh copies among them."""
    limit = f"z from {section.min_copying_z:g} to {UNLIKE:g}; {100 * section.max_auc:g} % of pairs"
    if told["z"] is None:
        return Check(COPYING, SKIPPED, "too few rows in every cell", limit)
    m, n = told["synthetic"], told["held_out"]
    nearer = min(max(0.5 - told["z"] * sqrt((m + n + 1) / (12 * m * n)), 0.0), 1.0)
    found = auc_interval(nearer, m, n)
    words = f"z = {told['z']:.1f}: a synthetic clip is nearer to the training clips than a held-out patient in {100 * nearer:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f}) of pairs"
    unlike = told["z"] > UNLIKE
    if unlike:
        words += "; the clips lie farther from all hearts than held-out patients do, so copies among them would not show in this figure"
    passed = found.high <= section.max_auc and not unlike
    return Check(COPYING, FAILED if told["z"] < section.min_copying_z else PASSED if passed else UNCLEAR, words, limit)


def _private(told: dict | None, section: AuditSection) -> Check:
    limit = f"epsilon {section.max_dp_epsilon:g}"
    if told is None:
        return Check(PRIVACY, SKIPPED, "the generators were not trained with differential privacy: there is no upper bound on what they give away", limit)
    words = f"epsilon {told['epsilon']:.2f} at delta {told['delta']:.1e}, patient by patient ({told['patients']})"
    outside = [item["item"][0].lower() + item["item"][1:] for item in told.get("coverage", ()) if item["how"] == "outside"]
    outcome = PASSED if told["epsilon"] <= section.max_dp_epsilon else FAILED
    return Check(PRIVACY, outcome, "; ".join([words, *(["outside of the account: " + "; ".join(outside)] if outside else [])]), limit)


def _canary(told: dict | None, section: AuditSection) -> Check:
    """Fails by the lower bound on epsilon; passes where what this attack can show, the upper end of its guesses, is below the limit too."""
    limit = f"epsilon {section.max_epsilon:g}"
    if told is None:
        return Check(CANARIES, SKIPPED, "no coin was tossed before training (audit.canaries)", limit)
    words = f"epsilon is at least {told['epsilon']:.2f} ({told['correct']} of {told['guesses']} guesses right, {told['canaries']} canaries)"
    right = rate(told["correct"], told["guesses"]).high if told["guesses"] else 1.0
    within = right < 1 and log(right / (1 - right)) <= section.max_epsilon
    return Check(CANARIES, FAILED if told["epsilon"] > section.max_epsilon else PASSED if within else UNCLEAR, words, limit)
