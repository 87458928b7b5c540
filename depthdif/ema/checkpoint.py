"""Weights from checkpoint files, for inference: the averages where there are any. No code of a file is run."""

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

# What torch.load raises for a truncated file, or one of another format.
READ_ERRORS = (RuntimeError, EOFError, zipfile.BadZipFile, KeyError, OSError, ValueError, AttributeError)


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
    """Read the weights of a checkpoint for inference, and log which they are.

    Reads checkpoints of `EMACallback` (also weights-only ones), of the EMA callbacks of DepthDif and NeMo
    (`ema_weights` in a callback's state), of Lightning's `EMAWeightAveraging` (`current_model_state`), and
    any other with a `state_dict`. Tensors that an average lacks are those of the standard weights.
    Keys lose the prefix `_orig_mod.` of `torch.compile`, and `module.` where all have it.

    Args:
        path: a checkpoint file.
        which: "auto" for the average, or the standard weights where there is none (or it has no update yet);
            "ema", "standard", a name such as "ema_0.99", or the decay of an average (0.99, "width_0.1").
        module: its `on_load_checkpoint` migrates the weights, as when Lightning restores a checkpoint; they are not
            loaded into it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or without these weights; the message lists those that it has.
    """
    return select_weights(read_checkpoint(path), which, path, module)


def select_weights(
    checkpoint: Mapping[str, Any],
    which: str | float = "auto",
    path: str | Path = "",
    module: nn.Module | None = None,
) -> LoadedWeights:
    """`load_weights` from the content of a checkpoint, which does not change; `path` is for messages."""
    standard, averages, decays, has_updates = _weights_in(checkpoint, path)
    if which == "auto":
        name: str | None = "ema" if averages and has_updates else "standard"
    elif which == "standard" or which in averages:
        name = str(which)
    else:
        names = (name for name, decay in decays.items() if which in (decay, str(decay), f"ema_{decay}"))
        name = next(names, None)
    if name is None:
        labels = [f"{name} ({decay_label(decays[name])})" if name in decays else name for name in averages]
        raise ValueError(f"{path}: holds no {which!r} weights; it holds {', '.join(['standard', *labels])}")
    average = averages.get(name, {})
    if (hook := migration(module)) is not None:
        standard = migrated(standard, checkpoint, hook)
        average = migrated(average, checkpoint, hook) if average else {}
    if name == "standard":
        reason = ": its average has no update yet" if averages else ": it holds no average"
        log.info("loaded the standard weights of %s%s", path, reason if which == "auto" else "")
        return LoadedWeights(standard, "standard")
    absent = standard.keys() - average.keys()
    also = f"; {len(absent)} tensors that it lacks are standard" if absent else ""
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
            f"{path}: expected a checkpoint file, got a folder of shards; "
            f"first run: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} whole.ckpt"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path}: truncated or no PyTorch checkpoint") from error
        names = ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))[:5])
        raise ValueError(
            f"{path}: has objects that only code can rebuild ({names}), which is never run; save plain types instead"
        ) from error
    except READ_ERRORS as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path}: truncated or no PyTorch checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f"{path}: expected a checkpoint with a state_dict, got a {type(checkpoint).__name__}"
        )
    return checkpoint


def find_averages(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of the EMA callback in a checkpoint, with `ema_weights` by canonical key: NeMo saves a list, others a dict."""
    key = _callback_key(checkpoint)
    if key is None:
        return None
    state = checkpoint["callbacks"][key]
    weights = state["ema_weights"]
    if not isinstance(weights, Mapping):
        weights = dict(zip(checkpoint["state_dict"], weights, strict=True))
    return {**state, "ema_weights": canonical(weights)}


def _callback_key(checkpoint: Mapping[str, Any]) -> str | None:
    """Key of the first callback state with averages, `EMACallback` before others."""
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
    """The `on_load_checkpoint` hook of a module, None for the default one of Lightning, which does nothing."""
    hook: Hook | None = getattr(module, "on_load_checkpoint", None)
    is_default = getattr(hook, "__module__", "").startswith(("pytorch_lightning.", "lightning."))
    return None if is_default else hook


def migrate_averages(checkpoint: dict[str, Any], hook: Hook) -> None:
    """Replace each average in a checkpoint by its migration: Lightning applies `on_load_checkpoint` to the raw weights only.

    Call this before Lightning calls the hook, on the checkpoint as it was read.
    """
    state_dict, callback = checkpoint.get("state_dict"), find_averages(checkpoint)
    if not isinstance(state_dict, Mapping):
        return
    new = dict(checkpoint)
    if callback is not None:
        further = callback.get("extra_ema_weights", {})
        callback["ema_weights"] = migrated(callback["ema_weights"], checkpoint, hook)
        callback["extra_ema_weights"] = {
            name: migrated(canonical(weights), checkpoint, hook) for name, weights in further.items()
        }
        new["callbacks"] = {**checkpoint["callbacks"], _callback_key(checkpoint): callback}
    if isinstance(checkpoint.get("current_model_state"), Mapping):
        # Lightning's WeightAveraging saves the average as the `state_dict`.
        new["current_model_state"] = migrated(canonical(checkpoint["current_model_state"]), checkpoint, hook)
    checkpoint.update(new)


def migrated(weights: Mapping[str, Tensor], checkpoint: Mapping[str, Any], hook: Hook) -> dict[str, Tensor]:
    """Weights by canonical key after an `on_load_checkpoint` hook, which gets them as the `state_dict` of a copy.

    The hook may change its argument in place, and need not be idempotent: each call gets the weights as they were saved, by
    the keys of the `state_dict`. Entries that `weights` lacks are those of the `state_dict`, and left out of the result.
    """
    standard = checkpoint["state_dict"]
    keys = _canonical_keys(standard)
    state_dict = {
        key: weights.get(keys[key], tensor) if key in keys else tensor for key, tensor in standard.items()
    }
    trial = {**checkpoint, "state_dict": state_dict}
    if (key := _callback_key(checkpoint)) is not None:
        # The averages take memory to copy.
        state = {k: v for k, v in checkpoint["callbacks"][key].items() if not k.endswith("ema_weights")}
        trial["callbacks"] = {**checkpoint["callbacks"], key: state}
    trial = copy.deepcopy(trial)
    absent = {id(trial["state_dict"][key]) for key in standard if keys.get(key) not in weights}
    hook(trial)
    return canonical({key: value for key, value in trial["state_dict"].items() if id(value) not in absent})


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
    """Standard weights, averages and their decays by variant, and whether any update was made."""
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        keys = ", ".join(map(str, list(checkpoint)[:5]))
        raise ValueError(f"{path}: expected a checkpoint with a state_dict, got the keys {keys}")
    if isinstance(checkpoint.get("current_model_state"), Mapping):
        # Lightning's WeightAveraging saves the averages in place of the standard weights.
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
