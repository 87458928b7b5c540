"""Hydra's plugins: whether those of a sweep are installed, and our configs in place of theirs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from depthdif.config_folder import CONF

# Plugins with an extra of the same name in our package.
EXTRAS = ("joblib", "submitit", "optuna")


def prefer_our_configs() -> None:
    """Let `hydra/launcher=joblib` be the file in conf/ and nothing else.

    A plugin stores a schema under the same name. Hydra would merge our file with it, warn that to do so is deprecated, and
    refuse it where the schema has defaults of its own, as that of Optuna does.
    """
    # Hydra stores the schemas of plugins when it looks for them the first time; later calls cost nothing.
    Plugins.instance()
    stored = ConfigStore.instance().repo["hydra"]
    for group in ("launcher", "sweeper"):
        for path in (CONF / "hydra" / group).glob("*.yaml"):
            stored[group].pop(path.name, None)


def check_plugin(part: str, target: str) -> None:
    """Exit with one line where the launcher or sweeper `target` is of a plugin that is not installed."""
    package, _, rest = target.partition(".")
    plugin = rest.partition(".")[0]
    if package != "hydra_plugins" or (find_spec(package) and find_spec(f"{package}.{plugin}")):
        return
    extra = next((extra for extra in EXTRAS if plugin.startswith(f"hydra_{extra}_")), "")
    requirement = f"'depthdif[{extra}]'" if extra else plugin.replace("_", "-")
    # A checkout has the pinned versions beside its configs.
    if extra and (CONF.parent / "constraints.txt").is_file():
        requirement = f"-c constraints.txt -e '.[{extra}]'"
    sys.exit(f"error: this hydra/{part} needs a plugin that is not installed; run pip install {requirement}")
