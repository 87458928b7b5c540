"""Short labels of the jobs of a sweep: the overrides that the sweep varies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

# The config of a sweep in its folder; the name is Hydra's.
MULTIRUN = "multirun.yaml"


def swept_keys(multirun: DictConfig) -> set[str]:
    """The keys that a sweep varies, on the command line or as parameters of its sweeper; `multirun` is its config."""
    params = OmegaConf.select(multirun, "hydra.sweeper.params") or {}
    overrides = [*(f"{key}={value}" for key, value in params.items()), *multirun.hydra.overrides.task]
    parsed = {
        override.get_key_element(): override
        for override in OverridesParser.create().parse_overrides(overrides)
    }
    return {key for key, override in parsed.items() if override.is_sweep_override()}


def job_label(sweep: Path, overrides: Sequence[str]) -> str:
    """The overrides of a job that its sweep varies, such as "decay=0.99 lr=0.001"; all of them where the sweep is not known."""
    pairs = dict(override.partition("=")[::2] for override in overrides)
    if (sweep / MULTIRUN).is_file():
        swept = swept_keys(OmegaConf.load(sweep / MULTIRUN))  # type: ignore[arg-type]
        pairs = {key: value for key, value in pairs.items() if key in swept}
    return " ".join(f"{name}={short(pairs[key])}" for key, name in short_names(pairs).items())


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted key, or the whole key where two would have the same name."""
    last = {key: re.split(r"[./@]", key)[-1] for key in keys}
    count = Counter(last.values())
    return {key: name if count[name] == 1 else key for key, name in last.items()}


def short(value: str) -> str:
    """A number of more than 8 characters to six significant digits; any other value unchanged."""
    is_number = re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", value)
    return f"{float(value):.6g}" if is_number and len(value) > 8 else value
