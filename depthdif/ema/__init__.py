"""Exponential moving averages: `EMA` of arrays, `ModuleAverages` of a module, `EMACallback` for Lightning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depthdif.ema.average import EMA
    from depthdif.ema.callback import EMACallback
    from depthdif.ema.checkpoint import LoadedWeights, load_weights, read_checkpoint, select_weights
    from depthdif.ema.weights import ModuleAverages, averaged

__all__ = [
    "EMA",
    "EMACallback",
    "LoadedWeights",
    "ModuleAverages",
    "averaged",
    "load_weights",
    "read_checkpoint",
    "select_weights",
]

MODULES = {
    "EMA": "average",
    "EMACallback": "callback",
    "LoadedWeights": "checkpoint",
    "ModuleAverages": "weights",
    "averaged": "weights",
    "load_weights": "checkpoint",
    "read_checkpoint": "checkpoint",
    "select_weights": "checkpoint",
}


def __getattr__(name: str) -> Any:
    # Torch and Lightning take seconds to import: what needs decays alone does not pay for them.
    if name in MODULES:
        return getattr(import_module(f"depthdif.ema.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
