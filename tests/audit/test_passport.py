"""The passport: what its public copy leaves out, and that it is written where figures are missing."""

import copy
import json
from dataclasses import asdict

import numpy as np
import pytest

from echosynth.audit import harms
from echosynth.audit.gate import decide
from echosynth.audit.passport import NOT_EVALUATED, public, write_passport
from echosynth.config import AuditSection
from echosynth.privacy.risks import none_seen
from toy_audit import audited, world
from toy_study import make_study

SECRET = "/home/dr.meier/w.pt"
COSINE = 0.987654321


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("passport"), clips=3)


@pytest.fixture(scope="module")
def found():
    """An audit's findings, with a word of the owner and cosines of patients in them."""
    told = audited(*world(copies=False)) | {
        "version": "1", "form": "full", "made": "2026-01-02T03:04:05+00:00", "cohort": {"simulated": True},
        "chain": {"cohort": "00", "stages": [], "weights": {}, "files": 1, "release": "11"},
        "attacks_left_out": {}, "none_seen": none_seen(100)._asdict(), "thresholds": AuditSection().model_dump(mode="json"),
        "ef_by_stratum": {"reason": f"the stage evaluation was not carried out on these clips (evaluation.pretrained={SECRET} now, '' then)"},
        "planted": {"published_tau": COSINE, "sensitivity": 0.99, "sensitivity_low": 0.9, "sensitivity_high": 1.0, "planted": []},
    }  # fmt: skip
    for name in ("calibrated", "judge"):
        told["screening"][name] = told["screening"][name] | {"copy_threshold": COSINE}
    told["screening"] |= {"copies": ["0XNAMED"], "moved": ["0XMOVED"], "nearer": ["0XNAMED"]}
    return told | {"gate": asdict(decide(told, AuditSection()))}


def test_the_public_copy_has_no_word_of_the_owner_and_no_cosine_of_a_patient(study, found, tmp_path):
    write_passport(study, found, tmp_path, redacted=True)
    for text in ((tmp_path / name).read_text() for name in ("passport.html", "passport.json")):
        assert "meier" not in text and str(COSINE) not in text and "0XNAMED" not in text and "0XMOVED" not in text
    told = json.loads((tmp_path / "passport.json").read_text())
    assert told["ef_by_stratum"]["reason"] == NOT_EVALUATED and told["screening"]["moved"] == 1
    assert "published_tau" in found["planted"] and found["ef_by_stratum"]["reason"] != NOT_EVALUATED  # the owner's keeps them
    assert all(attack["worst"]["lead"] is None for attack in told["attacks"])  # of 90 members the highest 1 % are one


def test_the_lead_of_many_is_published(found):
    many = copy.deepcopy(found)
    for attack in many["attacks"]:
        attack |= {"members": 1288, "strangers": 1277}
    assert all(attack["worst"]["lead"] is not None for attack in public(many)["attacks"])


def test_the_page_shows_the_worst_kind_and_the_filter(study, found, tmp_path):
    write_passport(study, found, tmp_path)
    page = (tmp_path / "passport.html").read_text()
    assert "those of the worst kind, crop 1.02" in page and "sensitivity 99.0 % (90.0 to 100.0)" in page


def test_a_passport_without_figures_of_copying_is_written(study, found, tmp_path):
    people, real, synthetic, asked = world(copies=False)
    one = synthetic.only(np.array([0]))
    told = copy.deepcopy(found) | {"harms": harms.harms(people, real, one, asked[:1], 0)}
    assert told["harms"]["adversarial_accuracy"] is None
    write_passport(study, told, tmp_path)
    assert "two of each are needed" in (tmp_path / "passport.html").read_text()
