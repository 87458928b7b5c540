"""Weights out of checkpoint files, for inference: the averages where there are any. No code of a file is run."""

from __future__ import annotations

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from depthdif.ema.law import Decay, decay_named, described

log = logging.getLogger(__name__)


class LoadedWeights(NamedTuple):
    """What `load_weights` found: `state_dict, which = load_weights(path)`.

    Attributes:
        state_dict: tensors on the CPU by canonical key, complete: `module.load_state_dict(state_dict)`.
        which: "standard", "ema", or "ema_0.99" or "ema_width_0.1" for a further average.
    """

    state_dict: dict[str, Tensor]
    which: str


def load_weights(path: str | Path, which: str | float = "auto") -> LoadedWeights:
    """Read the weights of a checkpoint for inference and say in the log which they are.

    Reads checkpoints of `EMACallback` (also weights-only ones), of the EMA callbacks of DepthDif and NeMo
    (`ema_weights` in a callback's state), of Lightning's `EMAWeightAveraging` (`current_model_state`), and
    any other with a `state_dict`. Tensors that an average does not hold come from the standard weights.
    Keys lose the prefix `_orig_mod.` of `torch.compile`, and `module.` where all have it.

    Args:
        path: a checkpoint file.
        which: "auto" for the average, or the standard weights where there is none (or it has no update yet);
            "ema", "standard", a name such as "ema_0.99", or the decay of an average (0.99, "width_0.1").

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or it does not hold what was asked for; the message says what it holds.
    """
    return select_weights(read_checkpoint(path), which, path)


def select_weights(
    checkpoint: dict[str, Any], which: str | float = "auto", path: str | Path = ""
) -> LoadedWeights:
    """The weights of a checkpoint that is read already, as `load_weights` gives them; `path` is for messages."""
    standard, averages, decays, updated = _weights_in(checkpoint, path)
    name = _choose(which, averages, decays, updated, path)
    if name == "standard":
        reason = ": its average has no update yet" if averages else ": it holds no average"
        reason = reason if which == "auto" else ""
        log.info("loaded the standard weights of %s%s", path, reason)
        return LoadedWeights(standard, "standard")
    filled = sorted(set(standard) - set(averages[name]))
    also = f"; {len(filled)} tensors that it does not hold are standard" if filled else ""
    decay = f" ({described(decays[name])})" if name in decays else ""
    log.info("loaded the %s weights%s of %s%s", name.replace("ema", "EMA", 1), decay, path, also)
    return LoadedWeights({**standard, **averages[name]}, name)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint file onto the CPU, with `weights_only=True`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, no checkpoint, or needs code that is not run.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path}: expected a checkpoint file, found a folder of shards; "
            f"first type: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} whole.ckpt"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: {_why_refused(path)}") from error
    except (
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
        KeyError,
        OSError,
        ValueError,
        AttributeError,
    ) as error:
        raise ValueError(f"{path}: truncated or no PyTorch checkpoint ({_first_line(error)})") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f"{path}: expected a checkpoint with a state_dict, found a {type(checkpoint).__name__}"
        )
    return checkpoint


def find_averages(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of the EMA callback in a checkpoint, ours or another's, with `ema_weights` by canonical key.

    NeMo's callback writes a list in the order of the `state_dict`; ours and DepthDif's a dict.
    """
    states = checkpoint.get("callbacks")
    states = states if isinstance(states, Mapping) else {}
    for _, state in sorted(states.items(), key=lambda item: str(item[0]) != "EMACallback"):
        weights = state.get("ema_weights") if isinstance(state, Mapping) else None
        if isinstance(weights, list | tuple) and len(weights) == len(checkpoint["state_dict"]):
            weights = dict(zip(checkpoint["state_dict"], weights, strict=True))
        if isinstance(weights, Mapping):
            return {**state, "ema_weights": canonical(weights)}
    return None


def canonical(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state dict by the keys of the plain module: without wrappers of `torch.compile` or DDP."""
    tensors = {key.replace("_orig_mod.", ""): t for key, t in state.items() if isinstance(t, Tensor)}
    if tensors and all(key.startswith("module.") for key in tensors):
        return {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def _weights_in(
    checkpoint: dict[str, Any], path: str | Path
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]], dict[str, Decay], bool]:
    """Standard weights, averages by name, their decays by name, and whether any update was made."""
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        keys = ", ".join(map(str, list(checkpoint)[:5]))
        raise ValueError(f"{path}: expected a checkpoint with a state_dict, found the keys {keys}")
    if isinstance(checkpoint.get("current_model_state"), Mapping):
        # Lightning's WeightAveraging puts the averages in the place of the standard weights, and these
        # beside.
        return canonical(checkpoint["current_model_state"]), {"ema": canonical(state)}, {}, True
    callback = find_averages(checkpoint)
    if callback is None:
        return canonical(state), {}, {}, False
    averages = {"ema": callback["ema_weights"]}
    decays = {"ema": decay_named(callback["decay"])} if "decay" in callback else {}
    for name, average in callback.get("extra_ema_weights", {}).items():
        averages[name] = canonical(average)
        decays[name] = decay_named(name)
    return canonical(state), averages, decays, int(callback.get("updates", 1)) > 0


def _choose(
    which: str | float,
    averages: Mapping[str, Any],
    decays: Mapping[str, Decay],
    updated: bool,
    path: str | Path,
) -> str:
    if which == "auto":
        return "ema" if averages and updated else "standard"
    if which == "standard" or which in averages:
        return str(which)
    for name, decay in decays.items():
        if which in (decay, str(decay), f"ema_{decay}"):
            return name
    held = [f"{name} ({described(decays[name])})" if name in decays else name for name in averages]
    raise ValueError(f"{path}: holds no {which!r} weights; it holds {', '.join(['standard', *held])}")


def _why_refused(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return "truncated or no PyTorch checkpoint"
    names = ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))[:5])
    return f"holds objects that only code can rebuild ({names}), which is never run; save plain types instead"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
