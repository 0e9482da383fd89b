"""THE training loop, the same for every model: optimisers, schedule, averaged weights, log, checkpoints.

    def batch(samples: range) -> Tensor: ...                                # sample i is the same whoever asks for it, and whenever
    def loss(model, batch, rng) -> dict: return {"loss": (model(batch) - batch).square().mean()}
    fit(model, loss, batch, Training(steps=500, batch_size=32, learning_rate=1e-3), folder, seed=0, title="autoencoder")

Batches and noise are functions of the step alone, so a run that was interrupted and goes on from its checkpoint ends in the very weights it would have had.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from echosynth.errors import InputError
from echosynth.files import atomic_file
from echosynth.interrupts import SIGNALS, held, thread_pool
from echosynth.networks.base import NetworkConfig
from echosynth.networks.precision import Precision, precision_context
from echosynth.progress import progress
from echosynth.randomness import torch_rng
from echosynth.training.muon import Muon
from echosynth.training.private import Private
from echosynth.training.recorded import Recorded


class Training(NetworkConfig):
    """How a model is trained. Learning rates are the peaks; `warmup` and `decay` are fractions of the steps, at the start and at the end."""

    steps: int = Field(ge=0, description="0 leaves the starting weights as they are")
    batch_size: int = Field(gt=0, description="over all processes")
    learning_rate: float = Field(gt=0, description="of `optimizer`")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="sgd: with momentum 0.9")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's memory of the gradient; adversarial training wants a short one, 0.5")
    muon_learning_rate: float = Field(0.0, ge=0, description="Muon on the matrices inside `blocks`, AdamW on the rest; 0 = AdamW alone")
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.02, ge=0, le=1)
    decay: float = Field(0.7, ge=0, le=1, description="linear, to zero")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights; 0 = none")
    clip_norm: float = Field(1.0, gt=0)
    precision: Precision = "auto"
    checkpoint_every: int = Field(200, gt=0, description="steps")
    log_every: int = Field(10, gt=0, description="steps")


Loss = Callable[[Any, Any, torch.Generator], dict[str, Any]]


def fit(
    model: nn.Module, loss: Loss, batch: Callable[[range], Any], config: Training, folder: Path, seed: int, title: str, private: Private | None = None, steady: bool = False
) -> None:
    """Trains `model` in place; afterwards it holds the averaged weights and is in evaluation mode, on the device of the training.

    `batch(samples)` gives the samples with these counters: a tensor, or a dict, list or tuple of them. Step k takes counters k * batch_size and on, shared out
    among the processes of `accelerate launch`. It runs in a background thread. `loss(model, batch, rng)` gives a dict whose "loss" is minimised and whose other
    values are logged; `rng` is a generator of this step and process on the training's device. In the main thread the global generator is seeded too. With `private`, `batch` is one that it made, and gradients are its noisy ones.

    `steady`: a batch is a dict of tensors of the same shapes at every step, and what the loss does with them hangs on nothing else, so that a GPU may replay it (recorded.py).

    Leaves `training.jsonl` (means since the last row) and `checkpoint/` in `folder`. A second call goes on from the checkpoint, and returns at once when that is
    the last step's. Ctrl-C and SIGTERM let the running step end and write a checkpoint first, and do not wait for a
    batch. Raises InputError when the loss is no longer finite or the checkpoint is not of this model.
    """
    accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    if config.batch_size < world:
        raise InputError(f"{title}: batch_size {config.batch_size} is smaller than the number of processes, {world}; raise it or start fewer")
    if private and world > 1:
        raise InputError(f"{title}: training with differential privacy runs on one process, not {world}; start one")
    model.to(device=device)
    model.train()
    step_module = accelerator.prepare(_Step(model, loss, device, config.precision))
    state = _State(model, config)
    start = state.load(folder)
    accelerator.wait_for_everyone()

    def samples(step: int) -> range:
        first = step * config.batch_size
        return range(first + rank * config.batch_size // world, first + (rank + 1) * config.batch_size // world)

    main = accelerator.is_main_process
    rng = torch.Generator(device)
    replayed, recorded = steady and device.type == "cuda" and world == 1 and not private, None
    log = _Log(folder / "training.jsonl", start) if main else None
    bar = progress(title, config.steps, start) if main and start < config.steps else nullcontext(lambda n=1, note="": None)

    def write_row(done: int) -> None:
        mean = log.write(done, config.learning_rate * factor)
        loss = mean.get("loss")  # none where no patient took part in any step of the window (private.py)
        if not math.isfinite((loss or 0.0) + mean["grad_norm"]):
            raise InputError(
                f"{title}: the loss is no longer a finite number near step {done}; "
                "lower training.learning_rate of its section, or set training.precision to fp32"
            )
        advance(0, note="no patient took part" if loss is None else f"loss {loss:.4g}")

    with _stop_signals() as stopped, thread_pool(1, "prefetch") as background, bar as advance:
        coming = background.submit(batch, samples(start)) if start < config.steps else None
        for step in range(start, config.steps):
            if not _ready(coming, stopped):
                if main and step > start:
                    if log.rows:
                        write_row(step)
                    state.save(folder, step)
                raise KeyboardInterrupt
            data = _to_device(coming.result(), device)
            if step + 1 < config.steps:
                coming = background.submit(batch, samples(step + 1))
            factor = state.set_learning_rates(step)
            rng.manual_seed(torch_rng(seed, title, step, rank).initial_seed())
            if threading.current_thread() is threading.main_thread():  # trainings in other threads share the global generator, and cannot draw from it
                torch.manual_seed(rng.initial_seed())
            if private:
                values = private.backward(step_module, data, rng, step)
            elif replayed:
                recorded = recorded or Recorded(step_module, data, rng)
                values = recorded(data)
            else:
                values = step_module(data, rng)
                accelerator.backward(values["loss"])
            values["grad_norm"] = state.update(step)

            done = step + 1
            last = done == config.steps
            if main:
                log.add(values, config.batch_size)
                if last or done % config.log_every == 0 or done % config.checkpoint_every == 0:
                    write_row(done)
                if last or done % config.checkpoint_every == 0:
                    state.save(folder, done)
                advance()
    state.load_average()
    model.eval()
    accelerator.wait_for_everyone()


class _Step(nn.Module):
    """Model and loss as one module, so that a loss may call any method of the model and gradients are still averaged over the processes."""

    def __init__(self, model: nn.Module, loss: Loss, device: torch.device, precision: Precision):
        super().__init__()
        self.model, self.loss, self.device, self.precision = model, loss, device, precision

    def forward(self, batch: Any, rng: torch.Generator) -> dict[str, Any]:
        with precision_context(self.device, self.precision):
            return dict(self.loss(self.model, batch, rng))


class _State:
    """Everything that a step changes: weights, their average, and what the optimisers remember."""

    def __init__(self, model: nn.Module, config: Training):
        self.model, self.config = model, config
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().float().clone() for name, p in self.parameters.items()} if config.ema else {}
        muon = {name for name, p in self.parameters.items() if config.muon_learning_rate and p.ndim == 2 and "blocks." in name}
        rest = [p for name, p in self.parameters.items() if name not in muon]
        # Gains and biases are not decayed.
        groups = [{"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay}, {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0}]
        self.optimizers: list[torch.optim.Optimizer] = []
        if config.optimizer == "sgd":
            self.optimizers.append(torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9))
        elif rest:
            self.optimizers.append(torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, 0.99), fused=True))
        if muon:
            self.optimizers.append(Muon([self.parameters[name] for name in sorted(muon)], lr=config.muon_learning_rate, weight_decay=config.weight_decay))
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]

    def set_learning_rates(self, step: int) -> float:
        """Linear warm-up, a plateau, linear decay; returns the fraction of the peak."""
        rise = (step + 1) / max(self.config.warmup * self.config.steps, 1)
        fall = (self.config.steps - step) / max(self.config.decay * self.config.steps, 1)
        factor = min(1.0, rise, fall)
        for optimizer, peaks in zip(self.optimizers, self.peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
        return factor

    @torch.no_grad()
    def update(self, step: int) -> Tensor:
        """One step of the optimisers and of the average; returns the norm of the gradient before clipping."""
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.average:
            decay = min(self.config.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.average.values()), [p.detach().float() for p in self.parameters.values()], 1 - decay)
        return norm

    @torch.no_grad()
    def load_average(self) -> None:
        for name, value in self.average.items():
            self.parameters[name].copy_(value)

    def _tensors(self) -> dict[str, Tensor]:
        names = {p: name for name, p in self.parameters.items()}
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        for optimizer in self.optimizers:
            tensors |= {f"optimizer/{names[p]}/{key}": value for p, values in optimizer.state.items() for key, value in values.items()}
        return tensors

    def save(self, folder: Path, step: int) -> None:
        tensors = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in self._tensors().items()}
        with atomic_file(folder / "checkpoint" / "checkpoint.safetensors") as path:
            save_file(tensors, path, metadata={"step": str(step), "torch": torch.__version__})

    @torch.no_grad()
    def load(self, folder: Path) -> int:
        """Takes over a checkpoint if there is one; returns the number of steps done."""
        path = folder / "checkpoint" / "checkpoint.safetensors"
        if not path.exists():
            return 0
        try:
            with safe_open(path, "pt") as file:
                step = int((file.metadata() or {})["step"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            for key, own in self._tensors().items():
                own.copy_(tensors[key])
            owner = {p: optimizer for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]}
            for key in sorted(k for k in tensors if k.startswith("optimizer/")):
                _, name, entry = key.split("/")
                p = self.parameters[name]
                # In the parameter's own memory layout, which the fused kernels rely on.
                owner[p].state[p][entry] = torch.empty_like(p).copy_(tensors[key]) if tensors[key].shape == p.shape and p.ndim else tensors[key].to(p.device)
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: not a checkpoint of this model ({str(error).splitlines()[0]}); delete {path.parent} to train from the start") from error
        return step


class _Log:
    """training.jsonl: one row every few steps, none of them past the checkpoint that a run goes on from."""

    def __init__(self, path: Path, start: int):
        self.path, self.rows, self.samples = path, [], 0
        kept = [row for row in _rows(path) if row["step"] <= start]
        with atomic_file(path) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self.before = kept[-1]["seconds"] if kept else 0.0
        self.begun = self.since = time.monotonic()

    def add(self, values: dict[str, Any], samples: int) -> None:
        self.rows.append({key: torch.as_tensor(value).detach() for key, value in values.items()})
        self.samples += samples

    def write(self, step: int, learning_rate: float) -> dict[str, float]:
        """Means over the steps since the last row (a value that only some of them have: over those)."""
        now = time.monotonic()
        keys = dict.fromkeys(key for row in self.rows for key in row)
        mean = {key: torch.stack([row[key].float() for row in self.rows if key in row]).mean().item() for key in keys}
        timing = {"lr": learning_rate, "seconds": round(self.before + now - self.begun, 3), "samples_per_second": round(self.samples / max(now - self.since, 1e-9), 2)}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step} | {key: float(f"{value:.6g}") for key, value in mean.items()} | timing) + "\n")
        self.rows, self.samples, self.since = [], 0, now
        return mean


def _rows(path: Path) -> Iterator[dict]:
    """The whole rows of a log; a kill may have cut the last one short."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _to_device(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: _to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(_to_device(value, device) for value in batch)
    return batch


def _ready(coming: Future, stopped: list[int]) -> bool:
    """Waits for a batch; False when a signal comes first."""
    while not stopped:
        if wait([coming], timeout=0.1).done:
            return True
    return False


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Holds back Ctrl-C and SIGTERM until the running step is whole: yields the list of those that came, and lets the first go when the block ends.

    A second one is not held back.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    previous = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number: int, _frame: Any) -> None:
        received.append(number)
        restore()

    try:
        with held():
            for number in previous:
                signal.signal(number, note)
            yield received
    finally:
        restore()
        if received:
            signal.raise_signal(received[0])
    if received:
        raise KeyboardInterrupt
