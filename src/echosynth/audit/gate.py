"""The gate: which checks a release has to pass, and whether it does. One rule for all of them (`RULE`)."""

from collections import Counter
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
PLANTED, COPYING = "Planted copies are caught", "Data copying (C_T)"
REQUIRABLE = {"canaries": CANARIES, "dp": PRIVACY, "weights": WEIGHTS}
PASSED, UNCLEAR, FAILED, SKIPPED = OUTCOMES = ("passed", "unclear", "failed", "skipped")
OF_CLIPS, OF_WEIGHTS = "clips", "weights"

ERROR = 0.01  # chance that a verdict fails a release of fresh hearts, all its checks together
NEARER_ERROR, NAMED_ERROR = 0.003, 0.002  # of it, for single clips that lie nearer than strangers come, and for more of them than strangers explain
COPYING_ERROR = 0.00135  # of it, for a z below -3
RULE = (
    "Passed: the whole 95 % interval of the figure lies on the good side of the limit. "
    "Failed: the figure is shown to be beyond the limit, by an interval so wide that all checks of a verdict together fail a release of fresh hearts in at most 1 % of cases. "
    "Unclear: neither is shown, as a rule because there are too few patients. Skipped: not examined. A verdict is open when no check of it failed. "
    "What is unclear or skipped is unknown, not fine."
)


@dataclass(frozen=True)
class Check:
    """One check: what it asks, its outcome (one of `OUTCOMES`), the figures in words, the limit in words (empty: none), and which verdict it belongs to."""

    name: str
    outcome: str
    words: str
    limit: str = ""
    about: str = OF_CLIPS


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
    # Intervals so wide that the checks whose figure is a sample's share what the three special ones leave.
    left = ERROR - NEARER_ERROR - NAMED_ERROR - COPYING_ERROR
    wide, wide_weights = 1 - 2 * left / (len(attacks[0]) + len(screens) + len(dangers) + 1), 1 - 2 * ERROR / max(len(attacks[1]), 1)
    checks = [
        _splits(found["splits"]),
        _no_copy(found["screening"], section),
        *(_rejections(name, found["screening"].get(key), section, wide) for name, key in screens),
        _planted(found["planted"], found["screening"].get("power", []), section, wide),
        *(_attack(attack, section, wide) for attack in attacks[0]),
        *(Check(f"Membership, clips alone: {name}", SKIPPED, why) for name, why in found.get("attacks_left_out", {}).items()),
        *(_harm(name, found["harms"].get(key), section, wide) for name, key in dangers),
        _copying(found["harms"]["data_copying"], section),
        _canary(found["canaries"], section),
        _private(found["differential_privacy"]),
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
    failed = {about: tuple(f"{c.name}: {c.words}" for c in checks if c.outcome == FAILED and c.about == about) for about in (OF_CLIPS, OF_WEIGHTS)}
    unknown = () if section.weights and attacks[1] else ("the weights were not attacked (audit.weights): do not share them",)
    of_weights = failed[OF_CLIPS] + failed[OF_WEIGHTS] + unknown  # whoever has the weights can draw the clips
    return Gate(
        RULE, tuple(checks), {outcome: counts[outcome] for outcome in OUTCOMES}, Verdict(not failed[OF_CLIPS], failed[OF_CLIPS]), Verdict(not of_weights, of_weights)
    )


def _outcome(low: float, high: float, shown_low: float, limit: float) -> str:
    """Of a figure that is bad above its limit: `low` to `high` is its 95 % interval, `shown_low` the lower end of the wide one."""
    return FAILED if shown_low > limit else PASSED if high <= limit else UNCLEAR


def _alone(outcome: str, low: float, limit: float) -> str:
    return "; beyond the limit by itself, not at the level of all checks together" if outcome == UNCLEAR and low > limit else ""


def _splits(splits: dict) -> Check:
    name, limit = "Splits share no patient", "0 patients in two splits"
    sides = ", ".join(f"{split} {part['patients']} patients" for split, part in splits["of_split"].items())
    if splits["in_two_splits"]:
        return Check(name, FAILED, f"{splits['in_two_splits']} patients are in two splits, so no figure here can be trusted", limit)
    if not splits["patients_known"]:
        words = f"the cohort has no patients.csv: every clip was taken for a patient of its own, and a patient with two clips may be in two splits ({sides})"
        return Check(name, UNCLEAR, words, limit)
    return Check(name, PASSED, sides, limit)


def _no_copy(screening: dict, section: AuditSection) -> Check:
    """Fails where a clip lies nearer to a training clip than strangers come, or more clips lie as near as planted copies than strangers explain; with fewer than `LEAST` strangers, for any such clip."""
    told = [screening[name] for name in ("calibrated", "judge")]
    copies, nearer = screening["copies"], screening["nearer"]
    seen = max((one["copies_caught"] for one in told), key=lambda caught: caught["low"])
    words = f"{len(copies)} of {screening['clips']} clips lie as near to a training clip as planted copies do{_names(copies)}"
    if nearer:
        words += f"; {len(nearer)} of them nearer than any stranger comes{_names(nearer)}"
    many = any(one["named_p"] < NAMED_ERROR / len(told) for one in told)
    unknown = bool(copies) and min(one["strangers"] for one in told) < LEAST
    if copies and not unknown:
        words += f"; strangers would give as many with a chance of {min(one['named_p'] for one in told):.2g}"
    words += f"; {_floor(seen['share'])} % (at least {_floor(seen['low'])} %) of {seen['count']} patients' planted copies are seen, all kinds"
    assured = any(one["line_assured"] for one in told) or seen["low"] >= section.copy_recall
    if not assured:
        words += f": too few patients to say that {100 * section.copy_recall:g} % would be"
    return Check(NO_COPY, FAILED if nearer or many or unknown else UNCLEAR if copies or not assured else PASSED, words, "0 clips")


def _names(names: list[str]) -> str:
    return f": {', '.join(names[:5])}{' and more' if len(names) > 5 else ''}" if names else ""


def _rejections(name: str, told: dict | None, section: AuditSection, wide: float) -> Check:
    limit = f"{100 * section.max_excess:g} % beyond strangers"
    if told is None:
        return Check(name, SKIPPED, "no clip lasts the two seconds that a beat takes to show", limit)
    rejected, beyond = told["rejected"], told["beyond"]
    count = round(rejected["share"] * rejected["count"])
    shown = excess(count, rejected["count"], told["patients"], told["allowed"], several=True, confidence=wide).low
    outcome = _outcome(beyond["low"], beyond["high"], shown, section.max_excess)
    words = (
        f"{rejected['share'] * 100:.1f} % rejected, {told['allowed'] * 100:.1f} % is what strangers suffer ({told['patients']} patients calibrate): "
        f"{beyond['share'] * 100:.1f} % ({beyond['low'] * 100:.1f} to {beyond['high'] * 100:.1f}) beyond them"
    )
    return Check(name, outcome, words + _alone(outcome, beyond["low"], section.max_excess), limit)


def _planted(planted: dict, power: list[dict], section: AuditSection, wide: float) -> Check:
    """By patients of whom every near-copy is caught by the screen that filtered: of images as the stage reid planted them, of clips as this audit did. The weaker of the two decides."""
    limit = f"{section.min_recall * 100:g} % of patients, every kind"
    rates = {}
    if planted.get("planted_recall_image") is not None and planted.get("planted_patients_image"):
        rates["images"] = rate(planted["planted_recall_image"] * planted["planted_patients_image"], planted["planted_patients_image"])
    for row in power:
        if row["screen"] == "calibrated" and row["kind"] == ALL_NEAR:
            rates["clips"] = Rate(*(row[key] for key in ("share", "low", "high", "count")))
    if not rates:
        return Check(PLANTED, FAILED, "no copy was planted", limit)
    lowest = min(rates.values(), key=lambda found: found.low)
    beyond = min(rate(found.share * found.count, found.count, wide).high for found in rates.values())
    outcome = FAILED if beyond < section.min_recall else PASSED if lowest.low >= section.min_recall else UNCLEAR
    words = "; ".join(f"{what}: every near-copy is caught of {_floor(r.share)} % ({_floor(r.low)} to {_floor(r.high)}) of {r.count} patients" for what, r in rates.items())
    if worst := planted.get("planted_worst"):
        words += f"; worst kind: {worst['kind']}, {_floor(worst['recall'])} % ({worst['sample']}s)"
    ends = ends_of(planted.get("planted", []))
    return Check(PLANTED, outcome, (f"{ends}. Mildest copies: " if ends else "") + words, limit)


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


def _attack(attack: dict, section: AuditSection, wide: float) -> Check:
    auc, caught, members, strangers = attack["auc"], attack["caught"][-1], attack["members"], attack["strangers"]
    name = f"Membership, {'clips alone' if attack['threat'] == 'dataset' else 'with the weights'}: {attack['name']}"
    limit = f"AUC {section.max_auc:g}; {100 * section.max_caught:g} % caught"
    if auc["value"] is None:
        return Check(name, SKIPPED, "no score", limit)
    words = f"AUC {auc['value']:.2f} ({auc['low']:.2f} to {auc['high']:.2f}), {members} members, {strangers} strangers; "
    words += f"{caught['members']['share'] * 100:.1f} % of members caught at {caught['allowed'] * 100:g} % false alarms"
    outcome = _outcome(auc["low"], auc["high"], auc_interval(auc["value"], members / attack["excess"], strangers / attack["excess"], wide).low, section.max_auc)
    words += _alone(outcome, auc["low"], section.max_auc)
    if strangers * caught["allowed"] < 1:  # of fewer strangers the line is the highest score, and says nothing of so few false alarms
        return Check(name, UNCLEAR if outcome == PASSED else outcome, words + f", too few strangers to know {caught['allowed'] * 100:g} %", limit)
    # The line was put on the strangers: members above it share its luck.
    hits, above = round(caught["members"]["share"] * members), round(caught["strangers"]["share"] * strangers)
    level = (above + 1) / (strangers + 1)
    beyond = excess(hits, members, strangers, level)
    second = _outcome(beyond.low, beyond.high, excess(hits, members, strangers, level, confidence=wide).low, section.max_caught)
    return Check(name, max(outcome, second, key=(PASSED, UNCLEAR, FAILED).index), words, limit)


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
    """z is a test by itself, and fails below its limit. It passes where besides the share of pairs in which the synthetic clip is the nearer one is shown to be small."""
    limit = f"z = {section.min_copying_z:g}; {100 * section.max_auc:g} % of pairs"
    if told["z"] is None:
        return Check(COPYING, SKIPPED, "too few rows in every cell", limit)
    m, n = told["synthetic"], told["held_out"]
    nearer = min(max(0.5 - told["z"] * sqrt((m + n + 1) / (12 * m * n)), 0.0), 1.0)
    found = auc_interval(nearer, m, n)
    words = f"z = {told['z']:.1f}: a synthetic clip is nearer to the training clips than a held-out patient in {100 * nearer:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f}) of pairs"
    return Check(COPYING, FAILED if told["z"] < section.min_copying_z else PASSED if found.high <= section.max_auc else UNCLEAR, words, limit)


def _private(told: dict | None) -> Check:
    if told is None:
        return Check(PRIVACY, SKIPPED, "the generators were not trained with differential privacy: there is no upper bound on what they give away")
    words = f"epsilon {told['epsilon']:.2f} at delta {told['delta']:.1e}, patient by patient ({told['patients']})"
    outside = [item["item"][0].lower() + item["item"][1:] for item in told.get("coverage", ()) if item["how"] == "outside"]
    return Check(PRIVACY, PASSED, "; ".join([words, *(["outside of the account: " + "; ".join(outside)] if outside else [])]))


def _canary(told: dict | None, section: AuditSection) -> Check:
    """Fails by the lower bound on epsilon; passes where what this attack can show, the upper end of its guesses, is below the limit too."""
    limit = f"epsilon {section.max_epsilon:g}"
    if told is None:
        return Check(CANARIES, SKIPPED, "no coin was tossed before training (audit.canaries)", limit)
    words = f"epsilon is at least {told['epsilon']:.2f} ({told['correct']} of {told['guesses']} guesses right, {told['canaries']} canaries)"
    right = rate(told["correct"], told["guesses"]).high if told["guesses"] else 1.0
    within = right < 1 and log(right / (1 - right)) <= section.max_epsilon
    return Check(CANARIES, FAILED if told["epsilon"] > section.max_epsilon else PASSED if within else UNCLEAR, words, limit)
