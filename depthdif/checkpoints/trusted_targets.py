"""Which classes and functions a checkpoint may build: those of the shipped configs, and those that the user sets."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.config_folder import CONF

IN_OVERRIDE = re.compile(r"_target_['\"]?\s*[=:]\s*['\"]?([\w.]+)")


def check_targets(source: str, recorded: DictConfig, chosen: Any) -> None:
    """Raise UserError where the checkpoint `source` has a `_target_` that is neither shipped nor set by the user.

    Building an object runs its code, and code that only a file specifies is never run. `recorded` is the config of the
    checkpoint, `chosen` what the user set, as a config or as a list of overrides.
    """
    trusted = {*targets(chosen)}
    for target in foreign_targets(recorded):
        if target not in trusted:
            raise UserError(
                f"{source}: was trained with {target}, which is not a part of depthdif; if you trust it, set it on "
                f"the command line, such as model.denoiser._target_={target}"
            )


def foreign_targets(cfg: Any) -> list[str]:
    """Every `_target_` in a config that is not in `conf/`, sorted."""
    return sorted({*targets(cfg)} - shipped_targets())


@functools.cache
def shipped_targets() -> frozenset[str]:
    """Every `_target_` in `conf/`."""
    return frozenset(target for file in CONF.rglob("*.yaml") for target in targets(OmegaConf.load(file)))


def targets(cfg: Any) -> Iterator[str]:
    """Every `_target_` in a config, or in overrides of the command line."""
    plain = OmegaConf.to_container(cfg, resolve=False) if OmegaConf.is_config(cfg) else cfg
    if isinstance(plain, Mapping):
        if "_target_" in plain:
            yield str(plain["_target_"])
        plain = list(plain.values())
    if isinstance(plain, list):
        for value in plain:
            yield from targets(value)
    elif isinstance(plain, str):
        yield from IN_OVERRIDE.findall(plain)
