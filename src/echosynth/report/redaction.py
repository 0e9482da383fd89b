"""What the report's copy for others leaves out: figures on fewer than `FEWEST` patients, and text that users wrote."""

import math
import re
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pandas as pd
from pydantic import BaseModel

from echosynth.config import PRESETS
from echosynth.metrics.ejection import ef_strata

FEWEST = 10  # patients that a figure of the copy rests on at least
TOO_FEW = "fewer than 10 patients"
FRAMES, PATIENTS, SCORES = "shows frames of patients", "shows single patients", "shows scores of single clips"
_ON_TEST_PATIENTS = ("trtr", "tstr", "mixed", "relabelled")  # prefixes of what is measured on the test split
_WORDS = {"", "none", "simulated", *PRESETS}  # in options that take any text


class Withheld(Exception):
    """A piece of the report that the copy for others may not show; the message is the reason, fit for the page."""


def clips_of_enough(rows: pd.DataFrame | None) -> float:
    """The number of clips that are of `FEWEST` patients at least, whichever of `rows` they are; infinite without a row.

    Args:
        rows: Clips, with a column `patient`.
    """
    return math.inf if rows is None or rows.empty else FEWEST * int(rows["patient"].value_counts().max())


def merged_bins(values: np.ndarray, patients: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The `edges` of bins, less those that would leave a bin with fewer than `FEWEST` patients.

    Args:
        values: One value a clip, (n,), within the edges.
        patients: Whose clip it is, (n,).
        edges: Rising edges of bins, (m + 1,).

    Returns:
        Some of `edges`, the first and the last among them.

    Raises:
        Withheld: When all values together are of fewer patients.
    """
    if len(np.unique(patients)) < FEWEST:
        raise Withheld(TOO_FEW)
    place, kept = np.digitize(values, edges[1:-1]), [0]
    for after in range(1, len(edges)):
        if len(np.unique(patients[(place >= kept[-1]) & (place < after)])) >= FEWEST:
            kept.append(after)
    return edges[[*kept[:-1], len(edges) - 1]]


def public_metrics(metrics: dict[str, Any], cohort: pd.DataFrame | None) -> dict[str, Any]:
    """The flat metrics; null with a reason for figures on fewer than `FEWEST` patients and for scores of single ones.

    Args:
        metrics: All figures.
        cohort: patient, split and ef (percent) of the source's clips; None where they are not known.
    """
    shared = dict(metrics)
    for key, value in metrics.items():
        if isinstance(value, str) and "/" in value:  # a message about a file of the owner
            shared[key] = "the reason names a file"
    for key, reason in _withheld(metrics, cohort).items():
        shared |= {key: None, f"{key}_reason": f"withheld: {reason}"}
    return shared


def _withheld(metrics: dict[str, Any], cohort: pd.DataFrame | None) -> dict[str, str]:
    """The metrics that are not for others, with the reason."""
    found = {"published.tau": SCORES} if "published.tau" in metrics else {}
    cohort = pd.DataFrame(columns=["patient", "split", "ef"]) if cohort is None else cohort
    test = cohort[(cohort["split"] == "TEST") & cohort["ef"].notna()]
    ef = test["ef"].to_numpy(float)

    def too_few(chosen: np.ndarray) -> bool:
        return test.loc[chosen, "patient"].nunique() < FEWEST

    for prefix in _ON_TEST_PATIENTS:
        for key in (key for key in metrics if re.fullmatch(rf"{prefix}\.auc_\d+(_unselected)?", key)):
            low = ef < float(key.removesuffix("_unselected").rpartition("_")[2])
            if too_few(low) or too_few(~low):
                found[key] = f"{TOO_FEW} on one side"
        for end in ("", "_unselected"):
            stratum = metrics.get(f"{prefix}.worst_stratum{end}")
            if stratum and too_few(ef_strata(ef) == stratum):
                found |= {f"{prefix}.{name}{end}": TOO_FEW for name in ("worst_stratum", "worst_stratum_mae")}
    return found


def public_options(section: BaseModel) -> dict[str, Any]:
    """A configuration, or a section of one, without the text that users wrote: names of folders, files and studies.

    Numbers and the program's own words stay.
    """
    return {
        name: _public_option(name, getattr(section, name), field.annotation)
        for name, field in type(section).model_fields.items()
    }


def _public_option(name: str, value: Any, annotation: Any) -> Any:
    if isinstance(value, BaseModel):
        return public_options(value)
    if isinstance(value, (list, tuple)):
        return [_public_option(name, item, (get_args(annotation) or (str,))[0]) for item in value]
    known = not isinstance(value, str) or get_origin(annotation) is Literal or name == "ef" or value in _WORDS
    return value if known else "withheld"
