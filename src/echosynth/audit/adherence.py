"""The EF that clips show beside the EF that was asked for, by stratum: whoever trains on the clips has to know where they fall short."""

from itertools import pairwise

import numpy as np
import pandas as pd

from echosynth.files import read_json
from echosynth.stages.evaluation import STAGE
from echosynth.study import Study

EDGES = (25.0, 40.0, 50.0, 60.0)  # EF in percent
TABLE, METRICS = "adherence.parquet", "metrics.json"


def ef_by_stratum(study: Study) -> dict:
    """`rows` by stratum of the EF asked for (see `strata`), and `judge_slope`, that of the judge's own readings on unseen real clips, None where it was not measured.

    {"reason": ...} where the clips as they are now were not evaluated.
    """
    if not study.done(STAGE):
        return {"reason": f"the stage evaluation was not carried out on these clips ({study.why(STAGE)})"}
    folder = study.verified("evaluation", TABLE, METRICS)
    table, metrics = pd.read_parquet(folder / TABLE), read_json(folder / METRICS)
    return {"rows": strata(table["asked"].to_numpy(float), table["measured"].to_numpy(float)), "judge_slope": metrics.get("judge.slope")}


def strata(asked: np.ndarray, read: np.ndarray) -> list[dict]:
    """Mean EF `asked` for and `read` (N,), in percent, and the number of clips, in each stratum of `EDGES` that has any."""
    at = np.digitize(asked, EDGES)
    names = [f"under {EDGES[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(EDGES)), f"{EDGES[-1]:g} and over"]
    return [
        {"stratum": name, "asked": float(asked[at == number].mean()), "read": float(read[at == number].mean()), "clips": int((at == number).sum())}
        for number, name in enumerate(names)
        if (at == number).any()
    ]
