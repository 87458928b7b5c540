"""What a checkpoint may build: the parts of depthdif, and what the user names."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.config_folder import CONF

TARGET = "_target_"
IN_OVERRIDE = re.compile(rf"{TARGET}['\"]?\s*[=:]\s*['\"]?([\w.]+)")


def check_targets(source: str, recorded: DictConfig, chosen: Any) -> None:
    """Raise UserError where the checkpoint `source` asks for a class or function that neither we nor the user named.

    To build an object is to run its code, and no code that a file alone asks for is ever run. `recorded` is the config of the
    checkpoint, `chosen` what the user set, as a config or as a list of overrides.
    """
    unknown = [target for target in foreign_targets(recorded) if target not in {*targets(chosen)}]
    if unknown:
        raise UserError(
            f"{source}: was trained with {unknown[0]}, which is not a part of depthdif; if you trust it, name it on "
            f"the command line, such as model.denoiser._target_={unknown[0]}"
        )


def foreign_targets(cfg: Any) -> list[str]:
    """Every `_target_` in a config that no shipped config names, sorted."""
    return sorted({*targets(cfg)} - shipped_targets())


@functools.cache
def shipped_targets() -> frozenset[str]:
    """Every `_target_` in `conf/`."""
    return frozenset(target for file in CONF.rglob("*.yaml") for target in targets(OmegaConf.load(file)))


def targets(cfg: Any) -> Iterator[str]:
    """Every `_target_` in a config, or in overrides of the command line."""
    plain = OmegaConf.to_container(cfg, resolve=False) if OmegaConf.is_config(cfg) else cfg
    if isinstance(plain, Mapping):
        if TARGET in plain:
            yield str(plain[TARGET])
        for value in plain.values():
            yield from targets(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from targets(value)
    elif isinstance(plain, str):
        yield from IN_OVERRIDE.findall(plain)
