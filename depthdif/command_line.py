"""What the scripts share: errors that a user can mend in one line, and resuming with the overrides of the run resumed.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path(__file__).resolve().parents[1] / "conf"
FULL_ERROR = "HYDRA_FULL_ERROR"


@contextmanager
def readable_errors(config_name: str) -> Iterator[None]:
    """Print an error that a user can mend in one line and exit with 1; HYDRA_FULL_ERROR=1 shows the traceback instead.

    `config_name` is the root config of the script, in `conf/`: its keys are what a mistyped one is compared with.

    Bad input raises ValueError or OSError, and TypeError from a constructor that does not know an argument. All other
    errors are our own mistakes and keep their traceback.
    """
    in_full = os.environ.get(FULL_ERROR, "0") != "0"
    # Else Hydra prints its own account and exits before the error gets here.
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        lines = lines_about(error, config_name)
        if in_full or not lines:
            raise
        print("\n".join([*lines, f"({FULL_ERROR}=1 shows where)"]), file=sys.stderr)
        sys.exit(1)


def lines_about(error: Exception, config_name: str) -> list[str]:
    """What to print of an error; nothing when it is a mistake of ours."""
    if isinstance(error, InstantiationException):
        cause = error.__cause__
        # Lightning's own refusal is known by name: to import it here would cost seconds.
        refused = type(cause).__name__ == "MisconfigurationException"
        mendable = refused or isinstance(cause, ValueError | OSError | TypeError)
        return [f"error: {in_one_line(cause)}"] if cause and mendable else []
    if isinstance(error, HydraException):
        causes = [str(error.__cause__)] if isinstance(error.__cause__, OmegaConfBaseException) else []
        return [str(error), *causes, *suggestions(sys.argv[1:], config_name)]
    in_job = any(frame.name == "main" for frame in traceback.extract_tb(error.__traceback__))
    if isinstance(error, OSError) and error.errno is not None and not in_job:
        advice = "type hydra.run.dir=FOLDER, or for a sweep hydra.sweep.dir=FOLDER"
        return [f"error: the run folder cannot be made ({in_one_line(error)}); {advice}"]
    return [f"error: {in_one_line(error)}"]


def in_one_line(error: BaseException) -> str:
    """The message of an error, its line breaks folded."""
    return " ".join(str(error).split()) or type(error).__name__


def suggestions(arguments: Sequence[str], config_name: str) -> list[str]:
    """One line for each override in `arguments` whose key or option does not exist, with the nearest one that does."""
    typed = [
        argument.lstrip("+~") for argument in arguments if "=" in argument and not argument.startswith("-")
    ]
    groups = config_groups()
    known = known_keys(config_name) + list(groups)
    lines = []
    for key, _, value in (override.partition("=") for override in typed):
        if key in groups and value not in groups[key]:
            lines.append(
                f"error: no option {key}={value}; the nearest valid one is {key}={nearest(value, groups[key])}"
            )
        elif key not in known and not key.startswith("hydra"):
            lines.append(f"error: no key {key!r}; the nearest valid one is {nearest(key, known)}")
    return lines


def nearest(word: str, known: Sequence[str]) -> str:
    """The most similar of the `known` words."""
    return difflib.get_close_matches(word, known, n=1, cutoff=0.0)[0]


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


def keep_decays(resumed: DictConfig, recorded: Mapping[str, Any]) -> None:
    """Go on with the decays that the run resumed had worked out: suited to another length they would be other averages."""
    for field, law in list(resumed.model.ema.items()):
        if OmegaConf.is_dict(law):
            resumed.model.ema[field] = recorded["model"]["ema"][field]


def with_overrides_of_resumed_run(cfg: DictConfig) -> DictConfig:
    """When `resume` is set: the config that the run resumed was started with, and the overrides typed now on top.

    Raises:
        ValueError, OSError: when the checkpoint cannot be read.
    """
    if cfg.resume is None:
        return cfg
    from depthdif.resume import read_resumed
    from depthdif.trust import check_targets

    recorded = read_resumed(cfg.resume).get("hyper_parameters", {})
    earlier = recorded.get("overrides", [])
    typed = list(HydraConfig.get().overrides.task)
    kept = [override for override in earlier if not override.lstrip("+~").startswith("resume=")]
    resumed = compose(config_name="train", overrides=kept + typed)
    if not any("model.ema" in override or "model/ema" in override for override in typed):
        keep_decays(resumed, recorded)
    check_targets(f"resume={cfg.resume}", resumed, cfg)
    return resumed
