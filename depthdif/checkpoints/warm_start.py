"""Warm start: the weights of a trained model in a new one that may see or predict other channels."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from depthdif import UserError
from depthdif.build import conditions_of
from depthdif.checkpoints.resume import read_run_checkpoint
from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.data.compatibility import check_depths
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.ema.checkpoint import select_weights

# The tensors whose size depends on the channels, and the dimension that does.
INPUT = {"denoiser.unet.conv_in.weight": 1}
OUTPUT = {"denoiser.unet.conv_out.weight": 0, "denoiser.unet.conv_out.bias": 0}


@dataclasses.dataclass(frozen=True)
class Channels:
    """Names of the channels that a denoiser sees and predicts, in their order."""

    inputs: list[str]
    outputs: list[str]

    @classmethod
    def of(cls, model: DictConfig, state: Mapping[str, Any], depths: Sequence[float]) -> Channels:
        """From the config of a model and the state of its data; depths are called by those given, metres."""
        outputs = [f"{each['name']} at {depth:g} m" for each in state["variables"] for depth in depths]
        conditions = conditions_of(model)
        names = conditions.channel_names(outputs, state["surface"], state["residual"] is not None)
        return cls([f"noisy {name}" for name in outputs] + names, outputs)


def warm_start(cfg: DictConfig, module: DiffusionModule, data: OceanDataModule) -> list[str]:
    """Load the weights of the checkpoint `cfg.init_from` into a new module: the EMA weights where it has them.

    Channels are matched by name: those of variables, depths, surface fields and conditions. The weights of new inputs are 0, so
    that the model computes at first what the trained one did, and so are those of new outputs, which makes their first
    reconstruction the first guess. Statistics are those of the new data.

    Returns:
        Lines that say what is taken over, what is new and what is dropped.

    Raises:
        FileNotFoundError, UserError: no such file, no checkpoint of a training run, code that does not belong to depthdif, or a
            model of other depths, another prediction type, with a first guess where the new one has none, or of another width.
    """
    source = f"init_from={cfg.init_from}"
    checkpoint = read_run_checkpoint("init_from", cfg.init_from)
    recorded, state = checkpoint.get("hyper_parameters"), checkpoint.get(OceanDataModule.__qualname__)
    if not (isinstance(recorded, Mapping) and isinstance(state, Mapping) and "variables" in state):
        raise UserError(
            f"{source}: has no config and no description of its data; set init_from to a checkpoint that the training of this "
            "version of depthdif wrote"
        )
    trained = OmegaConf.create({"model": recorded["model"]})
    check_targets(source, trained, cfg)
    new = data.state_dict()
    try:
        check_depths(state["depths"], new["depths"])
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    _check_quantity(source, trained.model, cfg.model, state, new)
    weights, name = select_weights(checkpoint, "auto", cfg.init_from)
    before = Channels.of(trained.model, state, new["depths"])
    after = Channels.of(cfg.model, new, new["depths"])
    module.load_state_dict(matched(source, weights, module.state_dict(), before, after))
    others = len(weights.keys() - INPUT.keys() - OUTPUT.keys())
    return [
        f"{source}: {name} weights, {others} tensors besides those of inputs and outputs",
        *_lines("inputs", before.inputs, after.inputs),
        *_lines("outputs", before.outputs, after.outputs),
    ]


def matched(
    source: str,
    trained: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    before: Channels,
    after: Channels,
) -> dict[str, Tensor]:
    """The `trained` tensors in the shapes of the `new` ones, channel by channel.

    Raises:
        UserError: tensors that differ in more than the channels.
    """
    result, other = {}, []
    for key, tensor in new.items():
        old = trained.get(key)
        if old is None:
            other.append(key)
        elif key in INPUT:
            result[key] = _rearranged(old, tensor, INPUT[key], before.inputs, after.inputs)
        elif key in OUTPUT:
            result[key] = _rearranged(old, tensor, OUTPUT[key], before.outputs, after.outputs)
        else:
            result[key] = old
        if old is not None and result[key].shape != tensor.shape:
            other.append(key)
    other += sorted(trained.keys() - new.keys())
    if other:
        raise UserError(
            f"{source}: of another architecture ({len(other)} tensors differ, such as {other[0]}); set the model/denoiser that "
            "it was trained with"
        )
    return result


def _rearranged(old: Tensor, new: Tensor, dim: int, before: list[str], after: list[str]) -> Tensor:
    """Channels of `old` in the order of those `after`, 0 for new ones; each may be several entries (blocks of cells)."""
    if old.shape[dim] % len(before):
        return old  # of another architecture
    entries = old.unflatten(dim, (len(before), -1))
    shape = list(entries.shape)
    shape[dim] = len(after)
    result = torch.zeros(shape, dtype=new.dtype)
    place = {name: number for number, name in enumerate(before)}
    for number, name in enumerate(after):
        if name in place:
            result.select(dim, number).copy_(entries.select(dim, place[name]))
    return result.flatten(dim, dim + 1)


def _check_quantity(
    source: str, trained: DictConfig, model: DictConfig, state: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    """Raise UserError where the network predicts something else."""
    before, after = (instantiate(each.noise_schedule).config.prediction_type for each in (trained, model))
    if before != after:
        raise UserError(
            f"{source}: predicts {before}, the new model {after}; set model.noise_schedule.prediction_type={before}"
        )
    if (state["residual"] is None) != (new["residual"] is None):
        has, option = ("no", "none") if state["residual"] is None else ("a", "oi")
        raise UserError(
            f"{source}: was trained with {has} first guess, the new model is not; set model/first_guess={option}"
        )


def _lines(what: str, before: list[str], after: list[str]) -> list[str]:
    """What becomes of the channels, the depths of each counted."""
    parts = {
        "taken over": [name for name in after if name in set(before)],
        "new, from 0": [name for name in after if name not in set(before)],
        "dropped": [name for name in before if name not in set(after)],
    }
    return [f"  {what} {label}: {_counted(names)}" for label, names in parts.items() if names]


def _counted(names: Sequence[str]) -> str:
    """`noisy temperature (8 depths), surface_mask sst`."""
    counts: dict[str, int] = {}
    for name in names:
        stem = re.sub(r" at \S+ m$", "", name)
        counts[stem] = counts.get(stem, 0) + (stem != name)
    return ", ".join(f"{stem} ({count} depths)" if count else stem for stem, count in counts.items())
