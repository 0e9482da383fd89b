"""Steps of a training recorded as a CUDA graph: a network as small as ours computes for less time than Python takes to tell a GPU what to do (docs/performance.md)."""

import torch
from torch import Tensor, nn

_WARM = 3  # steps that libraries allocate in, which a recording must not hold


class Recorded:
    """`step(batch, rng)` of a module and the gradient of its "loss", recorded once and then replayed with batches of the same shapes.

    What a step does must depend on nothing but tensors. `rng` is a generator of the GPU; a replay draws from it as it then is.
    """

    def __init__(self, step: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        before = rng.get_state()
        self.batch = {key: value.clone() for key, value in batch.items()}
        self.parameters = [p for p in step.parameters() if p.requires_grad]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM):
                step(self.batch, rng)["loss"].backward()
                self._forget()
        torch.cuda.current_stream().wait_stream(beside)
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(rng)
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # another thread prepares batches
            self.values = step(self.batch, rng)
            self.values["loss"].backward()
        self.gradients = [p.grad for p in self.parameters]
        self._forget()
        rng.set_state(before)

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The values of a step on `batch`; its gradients are left in the parameters."""
        for key, value in batch.items():
            self.batch[key].copy_(value)
        self.graph.replay()
        for p, gradient in zip(self.parameters, self.gradients, strict=True):
            p.grad = gradient
        return {key: value.detach().clone() for key, value in self.values.items()}

    def _forget(self) -> None:
        for p in self.parameters:
            p.grad = None
