"""Where the Hydra configs are, their groups and keys."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from omegaconf import DictConfig

PACKAGE = Path(__file__).resolve().parent
# An installed wheel holds the configs inside the package, a checkout beside it.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


def config_groups() -> dict[str, list[str]]:
    """The options of each config group."""
    options = [path.relative_to(CONF).with_suffix("") for path in sorted(CONF.rglob("*/*.yaml"))]
    return {
        str(group): [path.name for path in options if path.parent == group]
        for group in {path.parent for path in options}
    }


def composed(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """A root config with its defaults and overrides, as Hydra composes it.

    Inside a Hydra job its search path is used, so that `--config-dir` applies; otherwise only `conf/`.
    """
    running = GlobalHydra.instance()
    if running.is_initialized():
        with suppress(MissingConfigException):
            return compose(config_name, list(overrides))
    hydra, running.hydra = running.hydra, None
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(config_name, list(overrides))
    finally:
        GlobalHydra.instance().hydra = hydra


def known_keys(config_name: str) -> list[str]:
    """Every key of a root config with its defaults, dotted; with those of a trained run where the config has `run_overrides`."""
    keys = dotted_keys(composed(config_name))
    if "run_overrides" not in keys:
        return keys
    return keys + [key for key in dotted_keys(composed("train")) if key.startswith(("data", "model"))]


def dotted_keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    """`a`, `a.b`, `a.b.c` and so on, for every node of the config."""
    keys: list[str] = []
    for key in map(str, cfg):
        keys.append(f"{prefix}{key}")
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not (node._is_missing() or node._is_none()):
            keys += dotted_keys(node, f"{prefix}{key}.")
    return keys
