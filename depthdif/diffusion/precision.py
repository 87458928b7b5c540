"""Numeric precision: the fastest one of a machine, and the one that a reverse chain runs in."""

from __future__ import annotations

import torch

from depthdif import UserError

AUTOCAST_TYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
SHORT_NAMES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def fastest_precision(accelerator: str = "auto") -> str:
    """Lightning's `precision` for an accelerator: `bf16-mixed` where the hardware computes in bfloat16, else `32-true`.

    On a CPU with AMX tiles a training step of the small U-Net took 0.53 of its float32 time; CPUs that only emulate
    bfloat16 get slower with it.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator in ("auto", "cpu"):
        capabilities = torch.cpu.get_capabilities()
        native = capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False)
        # Attention in bfloat16 fails where ATEN_CPU_CAPABILITY selects lesser kernels than those of the CPU.
        kernels = torch.backends.cpu.get_cpu_capability()
        return "bf16-mixed" if native and kernels == "AVX512" else "32-true"
    return "32-true"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Autocast context of a module with float32 weights on `device`, the same as under a Lightning trainer of this `precision`.

    Raises:
        UserError: another precision; the samplers and the noise of a chain are float32.
    """
    name = SHORT_NAMES.get(str(precision), str(precision))
    if name not in AUTOCAST_TYPES:
        raise UserError(
            f"precision is {precision}: expected one of {', '.join(AUTOCAST_TYPES)}; "
            "set precision=32-true, or in training trainer.precision=32-true"
        )
    dtype = AUTOCAST_TYPES[name]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)
