"""The command line: one clear line and exit code 2 for what the user can mend, and nothing heavy before it is needed."""

import errno
import os
import subprocess
import sys
import threading

import pytest
import torch

from echosynth import cli, interrupts
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
        "screen",
        "audit",
        "release",
        "verify",
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
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a.avi"), 2, "disk quota exceeded while writing a.avi; free"),
        (OSError(errno.EFBIG, "File too large", "a.avi"), 2, "file too large while writing a.avi; raise the limit on"),
        (OSError(errno.EMFILE, "Too many open files", "a.avi"), 2, "too many open files; raise the limit (ulimit -n)"),
        (OSError(errno.ENFILE, "Too many open files in system"), 2, "too many open files; raise the limit (ulimit -n)"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 2, "out of memory; close other programs, or lower"),
        (MemoryError(), 2, "out of memory; close other programs, or lower batch_size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 2, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), 2, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), 2, "out of memory"),
        (RuntimeError("can't start new thread"), 2, "no further thread can be started"),
        (OSError(errno.EIO, "Input/output error"), 2, "input/output error; check the disks"),
        (PermissionError(errno.EACCES, "Permission denied", "study"), 2, "study: permission denied"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "x.json"), 2, "x.json: is a directory"),
    ],
)
def test_faults_outside_the_program(capsys, error, code, words):
    def work():
        raise error

    assert cli.guarded(work) == code and words in one_line(capsys.readouterr().err)


def test_no_memory_for_a_tensor_is_one_line(capsys):
    assert cli.guarded(lambda: torch.empty(2**60, dtype=torch.uint8) and None) == 2
    assert "out of memory" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), RecursionError("too deep"), RuntimeError("shapes differ"), OSError("no number")]
)
def test_a_bug_keeps_its_traceback(error):
    def work():
        raise error

    with pytest.raises(type(error)):
        cli.guarded(work)


def test_a_reader_that_wants_no_more_ends_a_command_quietly():
    """As in `echosynth --help | head -1`, with more text than a pipe holds, and with less."""
    for times in (1, 10_000):
        script = f"from echosynth import cli; cli.app = lambda **_: print('a line\\n' * {times}); cli.main()"
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is a matter of Linux")
def test_a_full_disk_under_what_is_printed_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "echosynth", "version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "disk full" in one_line(done.stderr)


def test_an_interrupt_says_how_to_resume(capsys, monkeypatch):
    def work():
        raise KeyboardInterrupt

    monkeypatch.setattr(interrupts, "_said", threading.Event())
    assert cli.guarded(work) == 130
    assert capsys.readouterr().err == "echosynth: interrupted; give the same command again to resume where it stopped\n"


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
    Study.open(root).register_cohort(root / "cohort" / "cohort.parquet")
    assert open_or_create(root).config == preset("smoke")
    assert open_or_create(root, tmp_path / "cohort", seed=0).config == preset("smoke")  # the cohort is not inspected again
    with pytest.raises(InputError, match="seed was 0, is 3 now"):
        open_or_create(root, seed=3)
    with pytest.raises(InputError, match="other options"):
        open_or_create(root, preset_name="demo")


def test_a_study_is_not_started_inside_a_cohort(tmp_path):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "FileList.csv").touch()
    with pytest.raises(InputError, match=r"cohort/study: lies in the cohort .*; give a folder outside"):
        open_or_create(tmp_path / "cohort" / "study", tmp_path / "cohort", "smoke")
    assert not (tmp_path / "cohort" / "study").exists()
