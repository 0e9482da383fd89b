"""The training loop: what it converges to, and that an interruption changes nothing."""

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from echosynth.errors import InputError
from echosynth.randomness import numpy_rng
from echosynth.training.fit import Training, _State, fit
from echosynth.training.muon import Muon

CONFIG = Training(steps=10, batch_size=8, learning_rate=1e-2, muon_learning_rate=0.02, ema=0.9, checkpoint_every=5, log_every=2, precision="fp32")


class Toy(nn.Module):
    """Matrices for Muon, the rest for AdamW, a batch normalisation and a dropout."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.norm, self.drop, self.out = nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 1)

    def predict(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = torch.tanh(block(x))
        return self.out(self.drop(self.norm(x)))[:, 0]


def toy() -> Toy:
    torch.manual_seed(1)
    return Toy()


def batch(samples: range) -> dict[str, Tensor]:
    return {"x": torch.stack([torch.from_numpy(numpy_rng(0, "x", i).standard_normal(6, dtype="float32")) for i in samples])}


def loss(model: Toy, data: dict, rng: torch.Generator) -> dict:
    noise = 0.1 * torch.randn(data["x"].shape, generator=rng)
    return {"loss": (model.predict(data["x"] + noise) - data["x"].sum(1)).square().mean()}


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


def failing(after: int):
    """The loss, until the call of that number breaks off."""
    calls = iter(range(after))

    def broken(*arguments) -> dict:
        if next(calls, None) is None:
            raise ZeroDivisionError
        return loss(*arguments)

    return broken


def test_interrupted_training_ends_in_the_same_weights(tmp_path):
    whole, parts = toy(), toy()
    fit(whole, loss, batch, CONFIG, tmp_path / "whole", 3, "toy")
    with pytest.raises(ZeroDivisionError):
        fit(parts, failing(after=7), batch, CONFIG, tmp_path / "parts", 3, "toy")
    assert rows(tmp_path / "parts")[-1]["step"] == 6  # past the checkpoint of step 5
    again = toy()
    fit(again, loss, batch, CONFIG, tmp_path / "parts", 3, "toy")
    assert_same(whole, again)
    assert [row["step"] for row in rows(tmp_path / "parts")] == [2, 4, 5, 6, 8, 10]
    assert [row["loss"] for row in rows(tmp_path / "parts")] == [row["loss"] for row in rows(tmp_path / "whole")]


def test_other_seed_other_weights(tmp_path):
    a, b = toy(), toy()
    fit(a, loss, batch, CONFIG, tmp_path / "a", 3, "toy")
    fit(b, loss, batch, CONFIG, tmp_path / "b", 4, "toy")
    assert not torch.equal(a.out.weight, b.out.weight)


def test_finished_training_is_not_done_again(tmp_path):
    first, second = toy(), toy()
    fit(first, loss, batch, CONFIG, tmp_path, 3, "toy")
    fit(second, failing(after=0), failing(after=0), CONFIG, tmp_path, 3, "toy")
    assert_same(first, second)
    assert not second.training


def test_no_steps_leave_the_weights_as_they_are(tmp_path):
    model = toy()
    fit(model, failing(after=0), failing(after=0), CONFIG.model_copy(update={"steps": 0}), tmp_path, 3, "toy")
    assert_same(model, toy())
    assert not model.training


def test_it_converges(tmp_path):
    model = nn.Linear(6, 1)

    def square(model: nn.Module, data: dict, rng: torch.Generator) -> dict:
        return {"loss": (model(data["x"])[:, 0] - 2 * data["x"][:, 0] + 1).square().mean()}

    fit(model, square, batch, Training(steps=300, batch_size=32, learning_rate=0.1, ema=0.9, weight_decay=0.0), tmp_path, 0, "linear")
    assert torch.allclose(model.weight, torch.tensor([[2.0, 0, 0, 0, 0, 0]]), atol=1e-2)
    assert torch.allclose(model.bias, torch.tensor([-1.0]), atol=1e-2)


def test_average_is_the_one_of_the_formula(tmp_path):
    """The gradient of the loss is 1, so that AdamW moves by -lr each step; the average follows from it."""
    model = nn.Module()
    model.w = nn.Parameter(torch.zeros(()))
    config = Training(steps=5, batch_size=1, learning_rate=0.1, warmup=0.0, decay=0.0, weight_decay=0.0, ema=0.9, precision="fp32")
    fit(model, lambda model, data, rng: {"loss": model.w}, lambda samples: torch.zeros(1), config, tmp_path, 0, "w")
    average = 0.0
    for k in range(5):
        decay = min(0.9, (1 + k) / (10 + k))
        average = decay * average + (1 - decay) * -0.1 * (k + 1)
    assert model.w.item() == pytest.approx(average, rel=1e-5)


def test_schedule():
    state = _State(toy(), Training(steps=100, batch_size=1, learning_rate=1.0, muon_learning_rate=2.0, warmup=0.1, decay=0.5))
    factors = [state.set_learning_rates(k) for k in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == factors[50] == 1.0
    assert factors[75] == pytest.approx(0.5) and factors[99] == pytest.approx(0.02)
    assert [group["lr"] for optimizer in state.optimizers for group in optimizer.param_groups] == pytest.approx([0.02, 0.02, 0.04])


def test_muon_takes_the_matrices_of_the_blocks():
    state = _State(toy(), CONFIG)
    adamw, muon = state.optimizers
    assert isinstance(muon, Muon) and len(muon.param_groups[0]["params"]) == 2
    assert len(_State(toy(), CONFIG.model_copy(update={"muon_learning_rate": 0.0})).optimizers) == 1
    assert adamw.param_groups[1]["weight_decay"] == 0.0


def test_frozen_parameters_and_buffers(tmp_path):
    model = toy()
    model.blocks[0].requires_grad_(False)
    before = model.blocks[0].weight.clone()
    fit(model, loss, batch, CONFIG, tmp_path, 3, "toy")
    assert torch.equal(model.blocks[0].weight, before)
    assert model.norm.num_batches_tracked == CONFIG.steps and not torch.equal(model.norm.running_mean, torch.zeros(6))


def test_every_sample_is_asked_for_once(tmp_path):
    asked = []
    fit(toy(), loss, lambda samples: asked.extend(samples) or batch(samples), CONFIG, tmp_path, 3, "toy")
    assert asked == list(range(80))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_no_number(tmp_path, value):
    def broken(model: Toy, data: dict, rng: torch.Generator) -> dict:
        return {"loss": value * loss(model, data, rng)["loss"]}

    with pytest.raises(InputError, match=r"toy: the loss is no longer a finite number near step 2; lower .*learning_rate"):
        fit(toy(), broken, batch, CONFIG, tmp_path, 3, "toy")
    assert not (tmp_path / "checkpoint" / "checkpoint.safetensors").exists()


def test_checkpoint_of_another_model(tmp_path):
    fit(toy(), loss, batch, CONFIG, tmp_path, 3, "toy")
    with pytest.raises(InputError, match="not a checkpoint of this model"):
        fit(nn.Linear(6, 1), loss, batch, CONFIG, tmp_path, 3, "toy")
    (tmp_path / "checkpoint" / "checkpoint.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(InputError, match=r"delete .*checkpoint to train from the start"):
        fit(toy(), loss, batch, CONFIG, tmp_path, 3, "toy")


def test_bfloat16_trains_float32_weights(tmp_path):
    seen = []

    def watching(model: Toy, data: dict, rng: torch.Generator) -> dict:
        seen.append(model.blocks[0](data["x"]).dtype)
        return loss(model, data, rng)

    model = toy()
    fit(model, watching, batch, CONFIG.model_copy(update={"precision": "bf16"}), tmp_path, 3, "toy")
    assert set(seen) == {torch.bfloat16} and model.out.weight.dtype == torch.float32


@pytest.fixture
def heard():
    """Ctrl-C is heard, also where the tests run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_signal_leaves_a_checkpoint(tmp_path, heard):
    count = iter(range(100))

    def interrupting(*arguments) -> dict:
        if next(count) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(*arguments)

    whole, again = toy(), toy()
    fit(whole, loss, batch, CONFIG, tmp_path / "whole", 3, "toy")
    with pytest.raises(KeyboardInterrupt):
        fit(toy(), interrupting, batch, CONFIG, tmp_path / "parts", 3, "toy")
    with safe_open(tmp_path / "parts" / "checkpoint" / "checkpoint.safetensors", "pt") as file:
        assert file.metadata()["step"] == "4"
    fit(again, loss, batch, CONFIG, tmp_path / "parts", 3, "toy")
    assert_same(whole, again)


@pytest.mark.parametrize("step", [0, 3])
def test_a_signal_does_not_wait_for_a_batch_that_takes_long(tmp_path, step, heard):
    asked, release = threading.Event(), threading.Event()

    def slow(samples: range) -> dict:
        if samples.start == step * CONFIG.batch_size:
            asked.set()
            release.wait(30)
        return batch(samples)

    def interrupt() -> None:
        asked.wait()
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    whole, again = toy(), toy()
    fit(whole, loss, batch, CONFIG, tmp_path / "whole", 3, "toy")
    since = time.monotonic()
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(toy(), loss, slow, CONFIG, tmp_path / "parts", 3, "toy")
        assert time.monotonic() - since < 5
    finally:
        release.set()
    checkpoint = tmp_path / "parts" / "checkpoint" / "checkpoint.safetensors"
    assert checkpoint.exists() == (step > 0)
    if step:
        with safe_open(checkpoint, "pt") as file:
            assert file.metadata()["step"] == str(step)
    fit(again, loss, batch, CONFIG, tmp_path / "parts", 3, "toy")
    assert_same(whole, again)


def test_two_processes_end_in_the_weights_of_one(tmp_path, monkeypatch):
    """Without noise the mean over two halves of a batch is the mean over the batch."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys; from pathlib import Path; import torch; from torch import nn; from safetensors.torch import save_file\n"
        "from echosynth.randomness import numpy_rng; from echosynth.training.fit import Training, fit\n"
        "def batch(samples): return torch.stack([torch.from_numpy(numpy_rng(0, 'x', i).standard_normal(6, dtype='float32')) for i in samples])\n"
        "def loss(model, x, rng): return {'loss': (model(x)[:, 0] - x.sum(1)).square().mean()}\n"
        "torch.manual_seed(0); model = nn.Linear(6, 1); out = Path(sys.argv[1])\n"
        "fit(model, loss, batch, Training(steps=20, batch_size=8, learning_rate=0.01, precision='fp32'), out, 0, 'two')\n"
        "save_file(model.state_dict(), out / f'weights-{torch.distributed.get_rank() if torch.distributed.is_initialized() else 0}.safetensors')\n"
    )
    # The loopback by its number: names of the machine may not resolve where tests run, and another program may listen elsewhere.
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one")])
    runpy.run_path(str(script))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    done = subprocess.run([*launcher, "--nproc-per-node", "2", script, tmp_path / "two"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    read = [safe_open(tmp_path / folder / f"weights-{rank}.safetensors", "pt") for folder, rank in (("one", 0), ("two", 0), ("two", 1))]
    for name in ("weight", "bias"):
        one, first, second = (file.get_tensor(name) for file in read)
        assert torch.equal(first, second) and torch.allclose(one, first, atol=1e-5)
    assert len(rows(tmp_path / "two")) == 2
