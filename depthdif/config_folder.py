"""Where the Hydra configs lie, their groups and keys."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).resolve().parents[1] / "conf"


def config_groups() -> dict[str, list[str]]:
    """The options of each config group."""
    options = [path.relative_to(CONF).with_suffix("") for path in sorted(CONF.rglob("*/*.yaml"))]
    return {
        str(group): [path.name for path in options if path.parent == group]
        for group in {path.parent for path in options}
    }


def known_keys(config_name: str) -> list[str]:
    """Every key of a root config with its defaults, dotted."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return dotted_keys(compose(config_name=config_name))


def dotted_keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    """`a`, `a.b`, `a.b.c` and so on, for every node of the config."""
    keys: list[str] = []
    for key in map(str, cfg):
        dotted = f"{prefix}{key}"
        keys.append(dotted)
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not OmegaConf.is_missing(cfg, key) and not node._is_none():
            keys += dotted_keys(node, f"{dotted}.")
    return keys
