"""Which arithmetic a network runs in: bfloat16 where the machine is fast at it."""

from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def uses_bf16(device: torch.device | str, precision: Precision = "auto") -> bool:
    """What `precision` means on `device`: "auto" is bfloat16 on GPUs that have it and on CPUs with AMX or AVX512-BF16, float32 elsewhere."""
    if precision != "auto":
        return precision == "bf16"
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def precision_context(device: torch.device | str, precision: Precision = "auto") -> torch.autocast:
    """A context in which matrix products and convolutions run in bfloat16 where `uses_bf16` says so; weights stay float32."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=uses_bf16(device, precision))
