"""What a change of an option makes again: no more than what depends on it."""

import pytest

from echosynth.config import preset
from echosynth.run import ALL, configure
from echosynth.study import Study, all_but
from toy_study import record

LAST = ["evaluation", "report"]
DRAWN = ["synthetic", "unselected", *LAST]
CASES = {
    "audit.max_auc=0.9": ["report"],  # which prints the options
    "evaluation.detectability_steps=17": LAST,
    "evaluation.clips=17": LAST,
    "evaluation.seeds=2": LAST,
    "evaluation.curve=[2]": LAST,
    "evaluation.bootstraps=17": LAST,
    "evaluation.training.steps=17": ["regressor", *DRAWN],
    "evaluation.pretrained=weights.pt": ["regressor", *DRAWN],
    "screen.protocol=paper": DRAWN,
    "screen.withhold=false": DRAWN,
    "screen.alpha=0.1": ["reid", *DRAWN],
    "screen.every=2": ["reid", *DRAWN],
    "synthesis.batch_size=3": ["report"],  # never changes a byte
    "synthesis.steps=3": DRAWN,
    "segmentation.training.steps=17": ["segmentation", *DRAWN],
}


@pytest.mark.parametrize("option", CASES)
def test_an_option_makes_again_what_depends_on_it(tmp_path, option):
    study = Study.create(tmp_path / "study", preset("demo"), tmp_path, "fingerprint")
    for stage in ALL:
        record(study, stage.name, {"stage": stage.name, "key": study.key(stage), "summary": {}})
    other, again = Study(study.root, configure(study.config, options=[option])), []
    for stage in ALL:
        if other.summary(stage.name)["key"] != (key := other.key(stage)):
            again.append(stage.name)
            record(other, stage.name, {"stage": stage.name, "key": key, "summary": {}})
    assert again == CASES[option]


def test_all_but_some_options_of_a_section():
    options = all_but("screen", "protocol", "withhold")
    assert "screen.alpha" in options and not {"screen.protocol", "screen.withhold"} & set(options)
    with pytest.raises(AssertionError):
        all_but("screen", "protocoll")
