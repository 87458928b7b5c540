"""Overrides of the command line on the config that a checkpoint records."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from depthdif import UserError
from depthdif.config_folder import composed, config_groups, dotted_keys
from depthdif.terminal import suggestions


def with_overrides(recorded: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The `recorded` config of a run, changed by overrides as Hydra would change a composed one.

    An option of a group (`model/sampler=ddim`, `data=glorys`) replaces its whole node, with the seed of the run; a value
    (`data.path=other.nc`) must name a key that the run has, or that the option brings.

    Args:
        recorded: `data`, `model` and `seed` of a checkpoint, resolved.
        overrides: of `data` and `model`.

    Raises:
        UserError: a key or an option that does not exist, with the nearest one that does.
        HydraException: no override at all.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: expected one value; for a sweep over several add -m")
    groups = [override for override in parsed if is_option(override)]
    cfg = with_options(recorded, groups) if groups else recorded.copy()
    OmegaConf.set_struct(cfg, True)
    for override in parsed:
        if override not in groups:
            set_value(cfg, override)
    OmegaConf.set_struct(cfg, False)
    return cfg


def is_option(override: Override) -> bool:
    """Whether an override chooses an option of a config group."""
    key = override.key_or_group
    return "/" in key or (key in config_groups() and isinstance(override.value(), str))


def with_options(recorded: DictConfig, options: Sequence[Override]) -> DictConfig:
    """The recorded config with the nodes of config groups that `options` choose."""
    lines = [str(option.input_line) for option in options]
    try:
        shipped = composed("train", [f"seed={recorded.seed}", *lines])
    except ConfigCompositionException as error:
        raise UserError(nearest_valid(lines, dotted_keys(recorded)) or str(error)) from error
    cfg = recorded.copy()
    # A group before those inside it, which the order of the names gives.
    for name in sorted(option.key_or_group.replace("/", ".") for option in options):
        node = OmegaConf.select(shipped, name)
        plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        OmegaConf.update(cfg, name, plain, merge=False, force_add=True)
    return cfg


def set_value(cfg: DictConfig, override: Override) -> None:
    """Set, add (`+`) or delete (`~`) the value that an override names, in place."""
    key = override.key_or_group
    parent, _, name = key.rpartition(".")
    keys = dotted_keys(cfg)
    try:
        if not override.is_delete():
            add = override.is_add() or override.is_force_add()
            OmegaConf.update(cfg, key, override.value(), merge=True, force_add=add)
            return
        if key not in keys:
            raise ConfigKeyError(key)
        OmegaConf.set_struct(cfg, False)
        del OmegaConf.select(cfg, parent)[name]
        OmegaConf.set_struct(cfg, True)
    except (ConfigAttributeError, ConfigKeyError) as error:
        line = str(override.input_line)
        raise UserError(nearest_valid([line], keys) or f"{line}: {error}") from error


def nearest_valid(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """What is unknown in `overrides`, with the nearest that exists; empty where nothing is."""
    return "; ".join(line.removeprefix("error: ") for line in suggestions(overrides, keys))
