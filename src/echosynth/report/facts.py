"""The figures and facts of a study, in words and tables: what the page, its twin and the terminal say."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from echosynth.files import read_json
from echosynth.report.glossary import ENTRIES, KEY_FIGURES, POINTS, SECOND_FIGURES, Entry, entry, group, show, show_target
from echosynth.study import Study


def is_number(value: Any) -> bool:
    """A finite int or float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def finished_stages(study: Study) -> list[dict]:
    """`stage.json` of every finished stage but the report's own, in the order in which they finished."""
    return [record for record in study.summaries() if record["stage"] != "report"]


def gather_metrics(study: Study) -> dict[str, Any]:
    """The flat metrics of a study: those of the evaluation, and facts of the run (wall time by stage, peak memory). A figure that is not finite becomes null."""
    path = study.folder("evaluation") / "metrics.json"
    metrics = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in (read_json(path) if path.exists() else {}).items()}
    stages = finished_stages(study)
    metrics |= {f"seconds.{stage['stage']}": stage["seconds"] for stage in stages}
    metrics["seconds.total"] = round(sum(stage["seconds"] for stage in stages), 2)
    for stage in stages:
        if stage["stage"] == "synthetic" and is_number(stage["summary"].get("seconds_per_clip")):
            metrics.setdefault("seconds.per_synthetic_clip", stage["summary"]["seconds_per_clip"])
    metrics["memory.peak_mb"] = max([metrics.get("memory.peak_mb") or 0.0, *(stage.get("memory_mb", 0.0) for stage in stages)]) or None
    return metrics


def metric_row(metrics: Mapping[str, Any], key: str) -> dict[str, Any]:
    """One metric as text: label, words, value or the reason why there is none, interval, floor (what real clips reach against real ones), target, and whether it is met (None: no target or no value)."""
    about, value = entry(key), metrics.get(key)
    low, high = (metrics.get(f"{key}_{end}") for end in ("low", "high"))
    floor = _floor(metrics, key)
    reason = metrics.get(f"{key}_reason") or "the evaluation has left no value"
    if isinstance(value, str) and value.startswith(_NONE):
        value, reason = None, value.removeprefix(_NONE)
    reason = reason if reason.startswith("withheld") else f"not computed: {reason}"
    return {
        "key": key,
        "group": group(key.partition(".")[0]).title,
        "label": about.label,
        "kind": str(metrics.get(f"{key}_kind") or ""),
        "words": about.words[:1].upper() + about.words[1:],
        "value": show(value, about) if is_number(value) else _words(key, value),
        "reason": "" if is_number(value) or isinstance(value, str) else reason,
        "interval": f"{show(low, about, unit=False)} to {show(high, about, unit=False)}" if is_number(low) and is_number(high) else "",
        "floor": show(floor, about, unit=False) if is_number(floor) else "",
        "target": show_target(about),
        "met": _met(about, value, floor, low),
    }


_NONE = "none: "  # begins a verdict that there is not, with the reason
_DIGITS = 12  # shown of a fingerprint


def _words(key: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return value[:_DIGITS] if key.endswith(".encoder") else value


def _met(about: Entry, value: Any, floor: Any, low: Any) -> bool | None:
    if isinstance(value, str):
        return value == about.wanted if about.wanted else None
    if not is_number(value) or about.target is None:
        return None
    return about.target.met(value, *(end if is_number(end) else None for end in (floor, low)))


def _floor(metrics: Mapping[str, Any], key: str) -> Any:
    """What real clips reach: the figure's own floor, that of the same figure with selection, or the same figure of real clips."""
    for other in (f"{key}_floor", f"{key.removesuffix('_unselected')}_floor"):
        if metrics.get(other) is not None:
            return metrics[other]
    return metrics.get(key.replace(".synthetic.", ".real.")) if ".synthetic." in key else None


def headline(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The key figures, a `metric_row` each, and after each the same without selection, where something was selected. One that is missing says why."""
    return [metric_row(metrics, one) for key in KEY_FIGURES for one in (key, f"{key}_unselected") if one == key or one in metrics]


def targets(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How many of the targets of `rows` are met, missed, and open (the figure or its floor was not computed), and how many there are."""
    judged = [row["met"] for row in rows if row["target"]]
    return {"met": judged.count(True), "missed": judged.count(False), "open": judged.count(None), "of": len(judged)}


def tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All metrics by prefix: `rows`, and `pairs` of what was measured on real and on synthetic clips alike. The ends of an interval and the floor stand in the row of their figure."""
    aside = {f"{key}{end}" for key in metrics for end in ("_low", "_high", "_floor", "_floor_sd", "_reason", "_kind")}
    found: dict[str, dict[str, Any]] = {}
    for key, value in metrics.items():
        if key in aside or not (value is None or is_number(value) or key.removesuffix("_unselected") in ENTRIES):
            continue
        prefix, _, rest = key.partition(".")
        table = found.setdefault(prefix, {"prefix": prefix, "title": group(prefix).title, "words": group(prefix).words, "rows": [], "pairs": []})
        if (twin := f"{prefix}.synthetic.{rest.removeprefix('real.')}") in metrics and rest.startswith("real."):
            table["pairs"].append(metric_row(metrics, key) | {"key": f"{prefix}.*.{rest.removeprefix('real.')}", "synthetic": metric_row(metrics, twin)["value"]})
        elif not (rest.startswith("synthetic.") and f"{prefix}.real.{rest.removeprefix('synthetic.')}" in metrics):
            table["rows"].append(metric_row(metrics, key))
    columns = ("interval", "floor", "target")
    return [table | {f"{column}s": any(row[column] for row in table["rows"]) for column in columns} for table in found.values()]


def beat_sentence(metrics: Mapping[str, Any]) -> str:
    """How many clips beat, and how fast, in one sentence; empty where it was not measured."""
    share, length = ([metrics.get(f"temporal.{kind}.{name}") for kind in ("real", "synthetic")] for name in ("dominant_period", "beat_seconds"))
    if not all(map(is_number, share)):
        return ""
    shown = [show(value, entry("temporal.dominant_period")) for value in share]
    times = f", with a median beat of {length[0]:.2f} s and {length[1]:.2f} s" if all(map(is_number, length)) else ""
    regular = [metrics.get(f"temporal.{kind}.beat_regularity") for kind in ("real", "synthetic")]
    if all(map(is_number, regular)):
        one, other = (show(value, entry("temporal.beat_regularity")) for value in regular)
        times += f"; where three beats are seen, their regularity is {one} and {other}"
    return f"{shown[0]} of the real and {shown[1]} of the synthetic clips have a dominant period of a beat{times}."


def one_sentence(metrics: Mapping[str, Any], made: int | None, source: int | None) -> str:
    """The study in one sentence, of the figures that there are; `made` synthetic clips from `source` clips."""
    parts = [f"{f'{made:,}' if made else 'No'} synthetic clips were made" + (f" from a cohort of {source:,} clips" if source else "")]
    if is_number(metrics.get("tstr.r2")):
        r2, first = (_of_trtr(metrics, end) for end in ("", "_unselected"))
        plain = f" ({first} without the selection of clips by their EF)" if first else ""
        parts.append(f"an EF regressor trained on synthetic clips alone reads held-out real patients with R² {r2}{plain}")
    recall, false = metrics.get("screen.planted_recall"), metrics.get("screen.false_rejection")
    if is_number(recall) and is_number(false):
        rejected = f"rejects {false * 100:.1f} % of patients it has never seen"
        worst, kind = metrics.get("screen.worst_copy"), metrics.get("screen.worst_copy_kind")
        least = f", the worst kind of moved or near copy ({kind}) of {_rounded_down(worst)}," if is_number(worst) else ""
        parts.append(f"the similarity screening catches every planted near-copy of {_rounded_down(recall)} of patients{least} and {rejected}")
    return "; ".join(parts) + "."


def _rounded_down(share: float) -> str:
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f} %"


def _of_trtr(metrics: Mapping[str, Any], end: str) -> str:
    """R2 of TSTR with the share that it is of TRTR's; empty where it was not measured."""
    value, share = (metrics.get(f"tstr.{name}{end}") for name in ("r2", "r2_of_trtr"))
    if not is_number(value):
        return ""
    return show(value, entry("tstr.r2")) + (f", {share * 100:.0f} % of that of training on real clips" if is_number(share) else "")


def without_paths(value: Any) -> Any:
    """A configuration with every path cut to its last name: the page says nothing of the machine that it was made on."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    return Path(value).name if isinstance(value, str) and "/" in value else value


def _numbers_of(summary: Any, path: str = "") -> list[str]:
    """The numbers in a stage's summary, "name value" each; words stay out, as they might be paths or names of clips."""
    if isinstance(summary, dict):
        return [text for key, item in summary.items() for text in _numbers_of(item, f"{path}{key} ".replace("_", " "))]
    return [f"{path}{summary:,.4g}" if isinstance(summary, float) else f"{path}{summary:,}"] if is_number(summary) else []


def run_facts(stages: list[dict], public: bool = False) -> dict[str, Any]:
    """Wall times, the numbers that each stage reported, and the versions that ran.

    `public` leaves out the hours, the keys and the reported numbers.
    """
    total = sum(stage["seconds"] for stage in stages)
    rows = [
        {
            "name": stage["stage"],
            "seconds": show(stage["seconds"], entry("seconds.stage")),
            "share": round(100 * stage["seconds"] / total, 1) if total else 0,
            "finished": stage["finished"][: 10 if public else 16].replace("T", " "),
            "key": "" if public else stage["key"][:8],
            "reported": "" if public else ", ".join(_numbers_of(stage["summary"])),
        }
        for stage in stages
    ]
    versions: dict[str, set[str]] = {}
    for stage in stages:
        for name, number in stage["versions"].items():
            versions.setdefault(name, set()).add(number)
    return {"stages": rows, "total": show(total, entry("seconds.total")), "versions": {name: ", ".join(sorted(numbers)) for name, numbers in versions.items()}}


def results_table(metrics: Mapping[str, Any], audit: Mapping[str, Any] | None = None) -> Table:
    """The key figures for the end of a run in a terminal of 80 columns: in a few words what each is, value, interval, floor, target.

    `audit`: what one has found (audit/examine.py); its verdict on the clips is the last row.
    """
    table = Table(title="Results", title_style="bold", title_justify="left", header_style="bold", padding=0, box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("figure", overflow="fold", min_width=28)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("floor", justify="right", no_wrap=True)
    table.add_column("target", min_width=14, max_width=16)
    for row in [*headline(metrics), *(metric_row(metrics, key) for key in SECOND_FIGURES)]:
        mark = {True: "[green]✓[/] ", False: "[yellow]✗[/] ", None: ""}[row["met"]]
        about = entry(row["key"])
        value = (row["value"] or "").removesuffix(f" {POINTS}")
        last = mark + show_target(about, short=True) if value else row["reason"].removeprefix("not computed: ")
        name = f"{about.brief or row['key']}{f': {kind}' if (kind := row['kind']) else ''}"
        table.add_row(name, value or "–", row["interval"], row["floor"], last)
    if audit is not None:
        is_open = audit["gate"]["clips"]["open"]
        mark, counts = ("[green]✓[/] ", "[yellow]✗[/] ")[not is_open], audit["gate"]["counts"]
        table.add_row(f"gate, clips ({audit['form']} audit)", "open" if is_open else "closed", "", "", mark + ", ".join(f"{counts[name]} {name}" for name in counts))
    return table


def comparison_table(metrics: Mapping[str, Any]) -> Table:
    """All figures of two cohorts, for a terminal: group, figure, value, interval, floor. Figures that were measured on either kind of clips stand side by side."""
    table = Table(header_style="bold")
    for name, side in (("figure", "left"), ("value", "right"), ("95 % interval", "right"), ("real to real", "right")):
        table.add_column(name, justify=side, overflow="fold")
    for part in tables(metrics):
        table.add_section()
        table.add_row(f"[bold]{part['title']}[/]")
        for row in part["rows"]:
            table.add_row(f"  {row['label']}{f': {kind}' if (kind := row['kind']) else ''}", row["value"] or f"[dim]{row['reason'].removeprefix('not computed: ')}[/]", row["interval"], row["floor"])
        for row in part["pairs"]:
            table.add_row(f"  {row['label']}, real | synthetic", f"{row['value'] or '–'} | {row['synthetic'] or '–'}")
    return table
