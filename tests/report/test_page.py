"""The page: whole, offline, silent about patients and machines, and complete about what is missing."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from echosynth.config import preset
from echosynth.errors import InputError
from echosynth.files import read_json
from echosynth.report import STAGE, write_report
from echosynth.report.pieces import looked_at, screenings
from echosynth.run import configure
from echosynth.study import Study
from toy_study import METRICS, SECRET, make_study, moved, record_again

VOID = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """Tags with their attributes; fails on a tag that closes what is not open."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def text(finished: Study) -> str:
    return write_report(finished).read_text()


@pytest.fixture
def copied(finished: Study, tmp_path: Path) -> Study:
    """A study of one's own to spoil."""
    shutil.copytree(finished.root.parent, tmp_path, dirs_exist_ok=True)
    return moved(tmp_path / "study", tmp_path / "site-a")


def test_page_is_whole_offline_and_accessible(text: str):
    page = Page(text)
    assert len(text) < 15_000_000
    references = [attributes[name] for _, attributes in page.tags for name in ("src", "href", "xlink:href", "srcset") if attributes.get(name)]
    assert references and all(reference.startswith(("data:", "#")) for reference in references)
    assert not page.all("script") and not re.search(r"url\((?!#)|@import", text)
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {link["href"][1:] for link in page.all("a")} <= set(identifiers)
    assert all(image["alt"] for image in page.all("img"))
    charts = page.all("svg")
    assert len(charts) == 8 + 2 + 2 + 6 and all(chart["aria-label"] for chart in charts)
    assert "not computed: needs 64 clips, there are 6" in text
    assert text.count("not computed") == 2  # the card and the row of video.frechet, nothing else
    assert "a mitigation, not a proof of anonymity" in text
    assert "the validation split has 12 patients" in text
    assert "targets are met, " in text and ", 2 could not be judged" in text
    assert "Copies caught, worst kind (shift 6, images)" in text
    assert 'shift 6 <span class="near">required</span>' in text and 'noise 4 <span class="near">near-copy</span>' in text


def test_the_page_says_which_frames_are_screened(finished: Study, text: str):
    for said in (text, (finished.folder("report") / "public.html").read_text()):
        assert "one frame in 8 of the finished video" in said and "all frames" not in said and "all their frames" not in said
    assert looked_at(1) == "every frame"
    screen = finished.config.screen
    assert "noted alone" in screenings(screen.model_copy(update={"withhold": False}))
    assert "not screened" in screenings(screen.model_copy(update={"protocol": "paper"}))


def test_the_copy_for_others_is_whole_too(finished: Study, text: str):
    copy = (finished.folder("report") / "public.html").read_text()
    page = Page(copy)
    references = [attributes[name] for _, attributes in page.tags for name in ("src", "href", "xlink:href", "srcset") if attributes.get(name)]
    assert references and all(reference.startswith(("data:", "#")) for reference in references)
    assert re.findall("<h[23][^>]*>[^<]*", copy) == re.findall("<h[23][^>]*>[^<]*", text)  # the same pieces in the same order
    assert not page.all("script") and all(image["alt"] for image in page.all("img"))
    assert re.findall(r'<tr><th scope="row">[^<]*<code>[^<]*', copy) == re.findall(r'<tr><th scope="row">[^<]*<code>[^<]*', text)


def test_both_protocols_stand_side_by_side(text: str):
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th><td>[^<]*</td><td>([^<]*)</td>', text))
    assert rows["rejects an image whose similarity"] == "reaches 0.912 (Pearson)" and rows["patients never seen, rejected: as expected"] == "26.0 %"
    assert (
        rows["patients never seen, rejected: as measured"] == "23.1 % (20.0 to 30.0)"
        and rows["finished videos"] == "not screened"
        and rows["patients of whom every planted near-copy of an image is caught"] == "–"
    )
    assert rows["synthetic images rejected, of 6"] == "5"


def test_clips_play_at_true_speed(text: str):
    clips = re.findall(r'class="moving" src="data:image/webp;base64,([^"]+)"', text)
    assert len(clips) == 3 + 3 + 2
    for number, clip in enumerate(clips):
        image = Image.open(io.BytesIO(base64.b64decode(clip)))
        assert image.info["loop"] == 0
        image.seek(1)
        image.load()
        cohort = number < 3 or number >= 6  # 50 fps: every third frame; synthetic 32 fps: every second
        assert (image.n_frames, image.info["duration"]) == ((16, 60) if cohort else (24, 62))
        assert image.size == ((224, 112) if number >= 6 else (112, 112))


def test_page_names_no_patient_and_no_place(finished: Study, text: str):
    for said in (text, (finished.folder("report") / "metrics.json").read_text()):
        assert SECRET not in said
        assert str(finished.root.parent) not in said and "/tmp" not in said
    assert "site-a" in text and "ab12cd34ab12" in text and "ab12cd34" * 2 not in text


def test_configuration_shows_no_path_and_no_markup(tmp_path: Path):
    study = Study.create(tmp_path / "study", preset("smoke").model_copy(update={"init": "/home/someone/weights"}), tmp_path / "<b>site</b>", "ab" * 32)
    text = write_report(study).read_text()
    assert "init: weights" in text and "someone" not in text
    assert "<b>site" not in text
    Page(text)


def test_empty_study_gives_a_page_of_reasons(tmp_path: Path):
    study = Study.create(tmp_path / "study", preset("smoke"), tmp_path / "site", "ab" * 32)
    page = write_report(study)
    text = page.read_text()
    Page(text)
    assert "<svg" not in text and 'class="moving"' not in text
    assert "No synthetic clips were made." in text
    assert text.count("not computed") >= 20
    assert read_json(study.folder("report") / "metrics.json") == {"seconds.total": 0, "memory.peak_mb": None}


@pytest.mark.parametrize(
    "lost",
    [
        {
            "study/autoencoder/examples.safetensors": "the autoencoder has left no examples",
            "study/image/training.jsonl": "no training log",
            "study/evaluation/tstr.parquet": "evaluation/tstr.parquet is not there",
            "study/evaluation/motion.parquet": "evaluation/motion.parquet is not there",
            "study/reid/scores.parquet": "reid/scores.parquet is not there",
            "study/reid/stage.json": "no copies were planted",
            "study/synthetic/screening.parquet": "synthetic/screening.parquet is not there",
            "study/evaluation/metrics.json": "the evaluation has left no value",
        },
        {"study/synthetic/FileList.csv": "there is no synthetic cohort yet"},
        {"study/latents/index.parquet": "the cohort has not been encoded yet"},
        {"site-a/Videos": "a clip could not be opened"},
    ],
    ids=lambda lost: Path(min(lost)).name,
)
def test_what_is_missing_is_named(copied: Study, lost: dict[str, str]):
    for name in lost:
        path = copied.root.parent / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    record_again(copied)
    text = write_report(copied).read_text()
    Page(text)
    assert all(f"not computed: {reason}" in text for reason in lost.values())
    assert SECRET not in text


def test_what_was_lost_since_is_no_page_of_reasons(copied: Study):
    (copied.folder("evaluation") / "tstr.parquet").unlink()
    with pytest.raises(InputError, match=r"evaluation/tstr\.parquet: missing since the stage evaluation left it"):
        write_report(copied)


def test_a_plot_that_was_left_out_says_why(copied: Study):
    (copied.folder("evaluation") / "volumes.parquet").unlink()
    path = copied.folder("evaluation") / "metrics.json"
    path.write_text(json.dumps(METRICS | {"volumes.r2": None, "volumes.r2_reason": "segmentation.enabled is off"}))
    record_again(copied)
    text = write_report(copied).read_text()
    assert "not computed: segmentation.enabled is off" in text and "volumes.parquet" not in text


def test_twin_holds_the_evaluation_and_the_run(copied: Study):
    path = copied.folder("evaluation") / "metrics.json"
    path.write_text(json.dumps(METRICS | {"trtr.r2": float("nan")}))
    record_again(copied)
    write_report(copied)
    twin = json.loads((copied.folder("report") / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert twin["trtr.r2"] is None
    assert {key: twin[key] for key in METRICS if key != "trtr.r2"} == {key: value for key, value in METRICS.items() if key != "trtr.r2"}
    assert twin["seconds.total"] == sum(10 + 7 * i for i in range(10)) and twin["seconds.latents"] == 17
    assert twin["memory.peak_mb"] == 909


def test_report_is_a_stage_with_the_same_bytes_each_time(copied: Study, text: str):
    shutil.rmtree(copied.folder("report"))
    assert copied.carry_out(STAGE)
    assert (copied.folder("report") / "index.html").read_text() == text
    assert not copied.carry_out(STAGE)


def test_an_edited_option_is_on_the_page(copied: Study):
    shutil.rmtree(copied.folder("report"), ignore_errors=True)
    copied.carry_out(STAGE)
    edited = Study(copied.root, configure(copied.config, options=["audit.max_auc=0.77"]))
    assert edited.carry_out(STAGE) and "max_auc: 0.77" in (copied.folder("report") / "index.html").read_text()


def test_a_large_study_stays_small(tmp_path: Path):
    study = make_study(tmp_path, clips=3, points=6000)
    text = write_report(study).read_text()
    assert len(text) < 3_000_000
    assert "1500 of 6000 clips are shown" in text
