"""Exponential moving averages: `EMA` of arrays, `ModuleAverages` of a module, `EMACallback` for Lightning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depthdif.ema.average import EMA as EMA
    from depthdif.ema.callback import EMACallback as EMACallback
    from depthdif.ema.checkpoint import load_weights as load_weights
    from depthdif.ema.checkpoint import read_checkpoint as read_checkpoint
    from depthdif.ema.checkpoint import select_weights as select_weights
    from depthdif.ema.weights import ModuleAverages as ModuleAverages
    from depthdif.ema.weights import averaged as averaged

MODULES = {"EMA": "average", "EMACallback": "callback", "ModuleAverages": "weights", "averaged": "weights"}
MODULES |= dict.fromkeys(("LoadedWeights", "load_weights", "read_checkpoint", "select_weights"), "checkpoint")


def __getattr__(name: str) -> Any:
    # Torch and Lightning take seconds to import, which users of decays alone should not wait for.
    if name in MODULES:
        return getattr(import_module(f"depthdif.ema.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
