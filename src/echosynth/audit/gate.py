"""The gate: which checks a release has to pass, and whether it does."""

from dataclasses import dataclass

from echosynth.config import AuditSection

NO_COPY = "No copy of a training clip"
CANARIES, PRIVACY, WEIGHTS = "Canaries", "Differential privacy", "Attacks on the weights"
MOTION = "Motion: a beat copied to another heart"
REQUIRABLE = {"canaries": CANARIES, "dp": PRIVACY, "weights": WEIGHTS}
PASSED, FAILED, UNCLEAR, SKIPPED = "passed", "failed", "unclear", "skipped"


@dataclass(frozen=True)
class Check:
    """One check: what it asks, its outcome ("passed", "failed", "unclear": the limit lies within the interval, "skipped"), and the figures."""

    name: str
    outcome: str
    words: str


@dataclass(frozen=True)
class Gate:
    """Open when no check failed; one that is required and was skipped counts as failed."""

    open: bool
    checks: tuple[Check, ...]


def decide(found: dict, section: AuditSection) -> Gate:
    """The checks on what an audit found (examine.py). A check that a limit lies within the interval of is unclear: told, but it does not close the gate, since too few patients would close every gate."""
    screening, planted, harms = found["screening"], found["planted"], found["harms"]
    names = ", ".join(screening["copies"][:5]) + (" and more" if len(screening["copies"]) > 5 else "")
    seen = max(screening[name]["copies_caught"]["share"] for name in ("calibrated", "judge"))
    checks = [
        _splits(found["splits"]),
        Check(
            NO_COPY,
            FAILED if screening["copies"] else UNCLEAR if seen < section.copy_recall else PASSED,
            f"{len(screening['copies'])} of {screening['clips']} clips lie as near to a training clip as planted copies do{': ' + names if names else ''}; {100 * seen:.0f} % of those planted are seen",
        ),
        _rejections("Calibrated screen, now", screening["calibrated"]),
        _rejections("Judge that took no part in the filtering", screening["judge"]),
        _rejections(MOTION, screening["motion"]) if "motion" in screening else Check(MOTION, SKIPPED, "no clip lasts the two seconds that a beat takes to be told"),
        _planted(planted, section),
        *(_attack(attack, section) for attack in found["attacks"]),
        *(Check(f"Membership, clips alone: {name}", SKIPPED, why) for name, why in found.get("attacks_left_out", {}).items()),
        *(_harm(words, harms.get(key), section) for words, key in (("Singling out", "singling_out"), ("Linkability", "linkability"), ("Inference of the EF", "inference"))),
        _copying(harms["data_copying"], section),
        _canary(found["canaries"], section),
        _private(found["differential_privacy"]),
    ]
    if not section.weights:
        checks.append(Check(WEIGHTS, SKIPPED, "audit.weights is off: nothing is known of what the weights give away, do not share them"))
    required = {REQUIRABLE[name] for name in section.required}
    checks = [Check(c.name, FAILED, f"required (audit.required), and skipped: {c.words}") if c.outcome == SKIPPED and c.name in required else c for c in checks]
    return Gate(not any(check.outcome == FAILED for check in checks), tuple(checks))


def _splits(splits: dict) -> Check:
    sides = ", ".join(f"{split} {part['patients']} patients" for split, part in splits["of_split"].items())
    if splits["in_two_splits"]:
        return Check("Splits share no patient", FAILED, f"{splits['in_two_splits']} patients are in two splits, so no figure here can be trusted")
    if not splits["patients_known"]:
        return Check(
            "Splits share no patient",
            UNCLEAR,
            f"the cohort has no patients.csv: every clip was taken for a patient of its own, and a patient with two clips may be in two splits ({sides})",
        )
    return Check("Splits share no patient", PASSED, sides)


def _rejections(name: str, told: dict) -> Check:
    rejected = told["rejected"]
    words = f"{rejected['share'] * 100:.1f} % rejected ({rejected['low'] * 100:.1f} to {rejected['high'] * 100:.1f}), {told['allowed'] * 100:.1f} % is what strangers suffer"
    return Check(name, FAILED if told["p_excess"] < 0.001 else UNCLEAR if rejected["share"] > told["allowed"] else PASSED, words)


def _planted(planted: dict, section: AuditSection) -> Check:
    recall, low = planted.get("planted_recall"), planted.get("planted_recall_low")
    if recall is None or low is None:
        return Check("Planted copies are caught", FAILED, "no copy was planted")
    outcome = FAILED if recall < section.min_recall else UNCLEAR if low < section.min_recall else PASSED
    return Check("Planted copies are caught", outcome, f"{recall * 100:.1f} % of near-copies (at least {low * 100:.1f} %), {section.min_recall * 100:g} % wanted")


def _attack(attack: dict, section: AuditSection) -> Check:
    auc, caught = attack["auc"], attack["caught"][-1]
    name = f"Membership, {'clips alone' if attack['threat'] == 'dataset' else 'with the weights'}: {attack['name']}"
    if auc["value"] is None:
        return Check(name, SKIPPED, "no score")
    words = f"AUC {auc['value']:.2f} ({auc['low']:.2f} to {auc['high']:.2f}), {attack['members']} members, {attack['strangers']} strangers; "
    words += f"{caught['members']['share'] * 100:.1f} % of members caught at {caught['allowed'] * 100:g} % false alarms"
    told = attack["strangers"] * caught["allowed"] >= 1  # of fewer strangers the line is the highest score, and says nothing of so few false alarms
    leaks = auc["low"] > section.max_auc or (told and caught["members"]["low"] > section.max_caught)
    return Check(name, FAILED if leaks else UNCLEAR if auc["value"] > section.max_auc else PASSED, words)


def _harm(name: str, told: dict | None, section: AuditSection) -> Check:
    if told is None or told["risk"] is None:
        return Check(name, SKIPPED, "too few patients or clips that are long enough")
    words = f"risk {told['risk']:.2f} ({told['low']:.2f} to {told['high']:.2f}): {told['train']['share'] * 100:.0f} % succeed on training patients, {told['control']['share'] * 100:.0f} % on held-out ones"
    return Check(name, FAILED if told["low"] > section.max_risk else UNCLEAR if told["risk"] > section.max_risk else PASSED, words)


def _copying(told: dict, section: AuditSection) -> Check:
    if told["z"] is None:
        return Check("Data copying (C_T)", SKIPPED, "too few rows in every cell")
    words = f"z = {told['z']:.1f}: below −3 the release lies nearer to the training patients than strangers do"
    return Check("Data copying (C_T)", FAILED if told["z"] < section.min_copying_z else PASSED, words)


def _private(told: dict | None) -> Check:
    if told is None:
        return Check(PRIVACY, SKIPPED, "the generators were not trained with differential privacy: there is no upper bound on what they give away")
    words = f"epsilon {told['epsilon']:.2f} at delta {told['delta']:.1e} covers the generators and what is drawn from them, patient by patient ({told['patients']})"
    return Check(PRIVACY, PASSED, words + "; it does not cover which clips the screen has withheld, nor the figures of this passport")


def _canary(told: dict | None, section: AuditSection) -> Check:
    if told is None:
        return Check(CANARIES, SKIPPED, "no coin was tossed before training (audit.canaries)")
    words = f"epsilon is at least {told['epsilon']:.2f} ({told['correct']} of {told['guesses']} guesses right, {told['canaries']} canaries)"
    return Check(CANARIES, FAILED if told["epsilon"] > section.max_epsilon else PASSED, words)
