"""Overrides of the command line on the config that a checkpoint records."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from depthdif import UserError
from depthdif.config_folder import composed, config_groups, dotted_keys
from depthdif.terminal import suggestions


def with_overrides(recorded: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The `recorded` config of a run with overrides applied, as Hydra applies them to a composed one.

    An option of a group (`model/sampler=ddim`, `data=glorys`) replaces its whole node, with the seed of the run; a value
    (`data.path=other.nc`) must have a key of the run or of an option that is set.

    Args:
        recorded: `data`, `model` and `seed` of a checkpoint, resolved.
        overrides: of `data` and `model`.

    Raises:
        UserError: a key or an option that does not exist, with the nearest one that does.
        HydraException: not an override.
    """
    cfg, groups = recorded.copy(), config_groups()
    options: list[Override] = []
    values: list[Override] = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: expected one value; for a sweep over several add -m")
        key = override.key_or_group
        is_option = "/" in key or (key in groups and isinstance(override.value(), str))
        (options if is_option else values).append(override)
    if options:
        set_options(cfg, options)
    for override in values:
        with flag_override(cfg, "struct", True):
            set_value(cfg, override)
    return cfg


def set_options(cfg: DictConfig, options: Sequence[Override]) -> None:
    """Replace the nodes of config groups by those of `options`, in place."""
    lines = [str(option.input_line) for option in options]
    try:
        shipped = composed("train", [f"seed={cfg.seed}", *lines])
    except ConfigCompositionException as error:
        raise UserError(nearest_valid(lines, dotted_keys(cfg)) or str(error)) from error
    # A group before those inside it, which the order of the names gives.
    for name in sorted(option.key_or_group.replace("/", ".") for option in options):
        node = OmegaConf.select(shipped, name)
        plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        OmegaConf.update(cfg, name, plain, merge=False, force_add=True)


def set_value(cfg: DictConfig, override: Override) -> None:
    """Set, add (`+`) or delete (`~`) a value, in place."""
    key, keys, line = override.key_or_group, dotted_keys(cfg), str(override.input_line)
    parent, _, name = key.rpartition(".")
    try:
        if not override.is_delete():
            add = override.is_add() or override.is_force_add()
            OmegaConf.update(cfg, key, override.value(), merge=True, force_add=add)
        elif key in keys:
            with flag_override(cfg, "struct", False):
                del OmegaConf.select(cfg, parent)[name]
        else:
            raise ConfigKeyError(key)
    except (ConfigAttributeError, ConfigKeyError) as error:
        raise UserError(nearest_valid([line], keys) or f"{line}: {error}") from error


def nearest_valid(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """The unknown keys and options in `overrides`, with the nearest valid ones; empty where all are valid."""
    return "; ".join(line.removeprefix("error: ") for line in suggestions(overrides, keys))
