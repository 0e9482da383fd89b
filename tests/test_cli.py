"""The command line: one clear line and exit code 2 for what the user can mend, and nothing heavy before it is needed."""

import errno
import subprocess
import sys

import pytest

from echosynth import cli
from echosynth.config import preset
from echosynth.errors import InputError
from echosynth.run import configure, open_or_create
from echosynth.study import Study


def call(capsys, *arguments):
    code = cli.guarded(lambda: cli.app(list(arguments), standalone_mode=False, prog_name="echosynth"))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def one_line(err):
    assert err.startswith("echosynth: error: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "STUDY"),
        (["run", "study", "--bogus"], "--bogus"),
        (["walk"], "walk"),
        (["phantom", "out", "--patients", "many"], "--patients"),
        (["phantom", "out", "--patients", "0"], "--patients"),
        (["phantom", "out", "--site", "atlantis"], "atlantis"),
        (["run", "study", "--cohort", "nowhere", "--preset", "huge"], "smoke, demo, full"),
        (["run", "study"], "--cohort"),
        (["run", "study", "--cohort", "nowhere"], "nowhere"),
        (["image", "study"], "study.yaml"),
        (["synthesize", "study", "--out", "there"], "study.yaml"),
        (["metrics", "nowhere", "neither"], "nowhere"),
        (["metrics", "nowhere", "neither", "--detector", "i3d=missing.pt"], "--trust-detector"),
        (["metrics", "nowhere", "neither", "--detector", "i3d=missing.pt", "--trust-detector"], "missing.pt: no such file"),
        (["metrics", "nowhere", "neither", "--detector", "vgg=missing.pt", "--trust-detector"], "vgg"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, *arguments)
    assert code == 2 and words in one_line(err)
    assert not (tmp_path / "study").exists() and not (tmp_path / "out").exists()


def test_check_prints_every_problem_and_exits_with_code_2(capsys, tmp_path):
    (tmp_path / "Videos").mkdir()
    (tmp_path / "Videos" / "b.avi").write_text("not a video")
    (tmp_path / "FileList.csv").write_text("FileName,EF,Split\na,55,TRAIN\nb,120,TRAIN\n")
    code, out, err = call(capsys, "check", str(tmp_path))
    assert code == 2 and "Traceback" not in err
    for words in ("row 2", "a.avi", "row 3", "EF 120 is outside 0-100", "no clip in split VAL"):
        assert words in out


def test_help_and_version(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for verb in [
        "phantom",
        "check",
        "run",
        "autoencoder",
        "latents",
        "image",
        "reid",
        "video",
        "regressor",
        "segmentation",
        "synthesize",
        "metrics",
        "evaluate",
        "report",
        "pretrain",
        "version",
    ]:
        assert f"\n  {verb} " in out
    assert call(capsys, "version")[:2] == (0, "0.1.0\n")


def test_help_does_not_load_torch():
    code = "import sys; from echosynth import cli; cli.guarded(lambda: cli.app(['run', '--help'], standalone_mode=False)); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("FileList.csv row 3:\n EF is empty"), 2, "FileList.csv row 3: EF is empty"),
        (OSError(errno.ENOSPC, "No space left on device", "latents/shard"), 2, "disk full while writing latents/shard; free space and run again: finished work is kept"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 2, "disk full"),
        (PermissionError(errno.EACCES, "Permission denied", "study"), 2, "study: permission denied"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "x.json"), 2, "x.json: is a directory"),
    ],
)
def test_faults_outside_the_program(capsys, error, code, words):
    def work():
        raise error

    assert cli.guarded(work) == code and words in one_line(capsys.readouterr().err)


def test_a_bug_keeps_its_traceback():
    def work():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.guarded(work)


def test_an_interrupt_says_how_to_go_on(capsys):
    def work():
        raise KeyboardInterrupt

    assert cli.guarded(work) == 130 and "same command" in capsys.readouterr().err


def test_options_are_laid_over_a_preset():
    config = configure(preset("smoke"), seed=7, init="none", options=["synthesis.videos=100", "video.training.learning_rate=1e-4", "screen.alpha=0.1", "synthesis.ef=55"])
    assert (config.seed, config.init, config.synthesis.videos, config.video.training.learning_rate, config.screen.alpha, config.synthesis.ef) == (7, "none", 100, 1e-4, 0.1, "55")
    assert config.image == preset("smoke").image


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("synthesis.vidoes=3", "unknown option synthesis.vidoes; synthesis has videos"),
        ("synthesis.videos", "SECTION.OPTION=VALUE"),
        ("nowhere.at.all=3", "unknown option nowhere.at.all"),
        ("synthesis=3", "is a section"),
        ("synthesis.videos=many", "synthesis.videos"),
        ("synthesis.videos=-1", "synthesis.videos"),
        ("synthesis.ef=high", "synthesis.ef"),
        ("screen.alpha=2", "screen.alpha"),
    ],
)
def test_a_bad_option_is_named(option, words):
    with pytest.raises(InputError) as error:
        configure(preset("smoke"), options=[option])
    assert words in str(error.value) and "\n" not in str(error.value)


def test_nothing_to_start_from_and_nothing_to_learn_is_refused_at_once():
    with pytest.raises(InputError, match=r"reid\.training\.steps is 0, and with init none"):
        configure(preset("demo"), init="none")
    assert configure(preset("demo"), init="none", options=["reid.training.steps=9"]).reid.training.steps == 9


def test_a_study_is_gone_on_with_by_its_name_alone(tmp_path):
    root = tmp_path / "study"
    Study.create(root, preset("smoke"), tmp_path / "cohort", "f1")
    (root / "cohort").mkdir()
    (root / "cohort" / "cohort.parquet").touch()
    assert open_or_create(root).config == preset("smoke")
    assert open_or_create(root, tmp_path / "cohort", seed=0).config == preset("smoke")  # the cohort is not inspected again
    with pytest.raises(InputError, match="seed was 0, now 3"):
        open_or_create(root, seed=3)
    with pytest.raises(InputError, match="other options"):
        open_or_create(root, preset_name="demo")
