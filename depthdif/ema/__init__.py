"""Exponential moving averages: `EMA` of arrays, `ModuleAverages` of a module, `EMACallback` for Lightning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from depthdif.ema.average import EMA
from depthdif.ema.checkpoint import LoadedWeights, load_weights, read_checkpoint
from depthdif.ema.weights import ModuleAverages, averaged

if TYPE_CHECKING:
    from depthdif.ema.callback import EMACallback

__all__ = [
    "EMA",
    "EMACallback",
    "LoadedWeights",
    "ModuleAverages",
    "averaged",
    "load_weights",
    "read_checkpoint",
]


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import: only who asks for the callback pays for it.
    if name == "EMACallback":
        from depthdif.ema.callback import EMACallback

        return EMACallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
