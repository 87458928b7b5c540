"""Weights out of checkpoint files, for inference: the averages where there are any. No code of a file is run."""

from __future__ import annotations

import copy
import logging
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from depthdif.ema.decay import Decay, decay_label, parse_decay

log = logging.getLogger(__name__)


class LoadedWeights(NamedTuple):
    """Weights of a checkpoint: `state_dict, which = load_weights(path)`.

    Attributes:
        state_dict: tensors on the CPU by canonical key, complete: `module.load_state_dict(state_dict)`.
        which: "standard", "ema", or "ema_0.99" or "ema_width_0.1" for a further average.
    """

    state_dict: dict[str, Tensor]
    which: str


def load_weights(
    path: str | Path, which: str | float = "auto", module: nn.Module | None = None
) -> LoadedWeights:
    """Read the weights of a checkpoint for inference and say in the log which they are.

    Reads checkpoints of `EMACallback` (also weights-only ones), of the EMA callbacks of DepthDif and NeMo
    (`ema_weights` in a callback's state), of Lightning's `EMAWeightAveraging` (`current_model_state`), and
    any other with a `state_dict`. Tensors that an average does not hold come from the standard weights.
    Keys lose the prefix `_orig_mod.` of `torch.compile`, and `module.` where all have it.

    Args:
        path: a checkpoint file.
        which: "auto" for the average, or the standard weights where there is none (or it has no update yet);
            "ema", "standard", a name such as "ema_0.99", or the decay of an average (0.99, "width_0.1").
        module: its `on_load_checkpoint` migrates the weights, as Lightning has it do when it restores a
            checkpoint; the weights are not loaded into it. None leaves them as they were saved.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or it does not hold these weights; the message says what it holds.
    """
    return select_weights(read_checkpoint(path), which, path, module)


def select_weights(
    checkpoint: Mapping[str, Any],
    which: str | float = "auto",
    path: str | Path = "",
    module: nn.Module | None = None,
) -> LoadedWeights:
    """`load_weights` from the content of a checkpoint that was read already; `path` is for messages. Nothing in it changes."""
    standard, averages, decays, updated = _weights_in(checkpoint, path)
    name = _choose(which, averages, decays, updated, path)
    average = averages.get(name, {})
    hook = migration(module)
    if hook is not None:
        standard = migrated(standard, checkpoint, hook)
        average = migrated(average, checkpoint, hook) if average else {}
    if name == "standard":
        reason = ": its average has no update yet" if averages else ": it holds no average"
        reason = reason if which == "auto" else ""
        log.info("loaded the standard weights of %s%s", path, reason)
        return LoadedWeights(standard, "standard")
    absent = standard.keys() - average.keys()
    also = f"; {len(absent)} tensors that it does not hold are standard" if absent else ""
    decay = f" ({decay_label(decays[name])})" if name in decays else ""
    log.info("loaded the %s weights%s of %s%s", name.replace("ema", "EMA", 1), decay, path, also)
    return LoadedWeights({**standard, **average}, name)


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
            f"first run: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} whole.ckpt"
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
    key = _callback_key(checkpoint)
    if key is None:
        return None
    state = checkpoint["callbacks"][key]
    weights = state["ema_weights"]
    if not isinstance(weights, Mapping):
        weights = dict(zip(checkpoint["state_dict"], weights, strict=True))
    return {**state, "ema_weights": canonical(weights)}


def _callback_key(checkpoint: Mapping[str, Any]) -> str | None:
    """Key of the first callback state that holds averages, ours before others."""
    states = checkpoint.get("callbacks")
    states = states if isinstance(states, Mapping) else {}
    for key in sorted(states, key=lambda key: str(key) != "EMACallback"):
        weights = states[key].get("ema_weights") if isinstance(states[key], Mapping) else None
        is_list = isinstance(weights, list | tuple) and len(weights) == len(checkpoint["state_dict"])
        if is_list or isinstance(weights, Mapping):
            return str(key)
    return None


Hook = Callable[[dict[str, Any]], Any]


def migration(module: nn.Module | None) -> Hook | None:
    """The `on_load_checkpoint` hook of a module where its class defines one: that of Lightning does nothing."""
    hook: Hook | None = getattr(module, "on_load_checkpoint", None)
    is_default = getattr(hook, "__module__", "").startswith(("pytorch_lightning.", "lightning."))
    return None if is_default else hook


def migrate_averages(checkpoint: dict[str, Any], hook: Hook) -> None:
    """Replace each average in a checkpoint by what the hook makes of it as the `state_dict`.

    Lightning gives `on_load_checkpoint` the raw weights alone: one that renames or reshapes them would leave the averages behind.
    Call this before Lightning does, on the checkpoint as it was read.
    """
    state_dict, callback = checkpoint.get("state_dict"), find_averages(checkpoint)
    if not isinstance(state_dict, Mapping):
        return
    new = dict(checkpoint)
    if callback is not None:
        further = callback.get("extra_ema_weights", {})
        averages = {
            "ema_weights": migrated(callback["ema_weights"], checkpoint, hook),
            "extra_ema_weights": {
                name: migrated(canonical(weights), checkpoint, hook) for name, weights in further.items()
            },
        }
        new["callbacks"] = {**checkpoint["callbacks"], _callback_key(checkpoint): {**callback, **averages}}
    if isinstance(checkpoint.get("current_model_state"), Mapping):
        # Of Lightning's WeightAveraging, whose `state_dict` is the average.
        new["current_model_state"] = migrated(canonical(checkpoint["current_model_state"]), checkpoint, hook)
    checkpoint.update(new)


def migrated(weights: Mapping[str, Tensor], checkpoint: Mapping[str, Any], hook: Hook) -> dict[str, Tensor]:
    """Weights after an `on_load_checkpoint` hook, which sees them as the `state_dict` of a copy of the checkpoint.

    The hook may change its argument in place, and need not be idempotent: it meets the weights once, as they were saved, under
    the keys of the `state_dict`. Entries that `weights` lacks are those of the `state_dict`, and are left out of the result.

    Args:
        weights: by canonical key.
        checkpoint: as it was read; nothing in it changes.
        hook: changes the checkpoint that it is given.
    """
    standard = checkpoint["state_dict"]
    keys = _canonical_keys(standard)
    state_dict = {
        key: weights.get(keys[key], tensor) if key in keys else tensor for key, tensor in standard.items()
    }
    trial = copy.deepcopy(_without_averages(checkpoint) | {"state_dict": state_dict})
    absent = {id(trial["state_dict"][key]) for key in standard if keys.get(key) not in weights}
    hook(trial)
    return canonical({key: value for key, value in trial["state_dict"].items() if id(value) not in absent})


def _without_averages(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint without the weights in the state of its EMA callback, which take memory to copy."""
    key = _callback_key(checkpoint)
    if key is None:
        return dict(checkpoint)
    state = checkpoint["callbacks"][key]
    light = {name: value for name, value in state.items() if name not in ("ema_weights", "extra_ema_weights")}
    return {**checkpoint, "callbacks": {**checkpoint["callbacks"], key: light}}


def canonical(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state dict by the keys of the plain module: without wrappers of `torch.compile` or DDP."""
    return {plain: state[key] for key, plain in _canonical_keys(state).items()}


def _canonical_keys(state: Mapping[str, Any]) -> dict[str, str]:
    keys = {key: key.replace("_orig_mod.", "") for key, value in state.items() if isinstance(value, Tensor)}
    if keys and all(plain.startswith("module.") for plain in keys.values()):
        return {key: plain.removeprefix("module.") for key, plain in keys.items()}
    return keys


def _weights_in(
    checkpoint: Mapping[str, Any], path: str | Path
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
    decays = {"ema": parse_decay(callback["decay"])} if "decay" in callback else {}
    for name, average in callback.get("extra_ema_weights", {}).items():
        averages[name] = canonical(average)
        decays[name] = parse_decay(name)
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
    kept = [f"{name} ({decay_label(decays[name])})" if name in decays else name for name in averages]
    raise ValueError(f"{path}: holds no {which!r} weights; it holds {', '.join(['standard', *kept])}")


def _why_refused(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return "truncated or no PyTorch checkpoint"
    names = ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))[:5])
    return f"holds objects that only code can rebuild ({names}), which is never run; save plain types instead"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
