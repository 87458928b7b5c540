"""What the scripts share: errors in one line, the nearest valid key, and resuming with the overrides of the run resumed.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).resolve().parents[1] / "conf"


class InputError(CompactHydraException):
    """Bad input, said in one line: Hydra prints it without a traceback unless HYDRA_FULL_ERROR=1."""


@contextmanager
def input_errors_in_one_line() -> Iterator[None]:
    """Turn the errors that bad input raises (ValueError, OSError, and what a constructor raises) into an `InputError`."""
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__
        if not isinstance(cause, ValueError | OSError | TypeError | type(None)):
            raise
        raise InputError(f"error: {in_one_line(cause or error)}") from error
    except (ValueError, OSError) as error:
        raise InputError(f"error: {in_one_line(error)}") from error


def in_one_line(error: BaseException) -> str:
    """The message of an error, its line breaks folded."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def nearest_key_named() -> Iterator[None]:
    """When Hydra refuses an override whose key does not exist, add the nearest one that does, and exit as Hydra does."""
    try:
        yield
    except SystemExit as stop:
        if stop.code:
            for line in suggestions(sys.argv[1:]):
                print(line, file=sys.stderr)
        raise


def suggestions(arguments: Sequence[str]) -> list[str]:
    """One line for each override in `arguments` whose key is neither in the config nor a config group."""
    typed = [argument.lstrip("+~") for argument in arguments if "=" in argument and not argument.startswith("-")]
    keys = [argument.partition("=")[0].partition("@")[0] for argument in typed]
    known = known_keys()
    lines = []
    for key in keys:
        if key not in known and not key.startswith("hydra"):
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            lines.append(f"error: no key {key!r}; the nearest valid one is {nearest[0]}")
    return lines


def known_keys() -> list[str]:
    """Every key of the default config, dotted, and every config group."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(config_name="train")
    groups = [str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir() and list(path.glob("*.yaml"))]
    return dotted_keys(cfg) + groups


def dotted_keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    """`a`, `a.b`, `a.b.c` and so on, for every node of the config."""
    keys: list[str] = []
    for key in cfg:
        dotted = f"{prefix}{key}"
        keys.append(dotted)
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not OmegaConf.is_missing(cfg, key) and not node._is_none():
            keys += dotted_keys(node, f"{dotted}.")
    return keys


def with_overrides_of_resumed_run(cfg: DictConfig) -> DictConfig:
    """When `resume` is set: the config that the run resumed was started with, and the overrides typed now on top.

    Raises:
        ValueError, OSError: when the checkpoint cannot be read.
    """
    if cfg.resume is None:
        return cfg
    from depthdif.resume import read_resumed

    earlier = read_resumed(cfg.resume).get("hyper_parameters", {}).get("overrides", [])
    typed = list(HydraConfig.get().overrides.task)
    kept = [override for override in earlier if not override.lstrip("+~").startswith("resume=")]
    return compose(config_name="train", overrides=kept + typed)
