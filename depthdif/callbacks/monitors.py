"""Check of the keys that early stopping and the choice of checkpoints follow, before any training."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig
from pytorch_lightning import Callback

from depthdif import UserError
from depthdif.diffusion.ensemble import independent_members
from depthdif.diffusion.module import DiffusionModule
from depthdif.ema import EMACallback
from depthdif.scores.score_names import FIRST_GUESS, SCORES, log_keys, parse_log_key

# Logged beside the scores of a validation.
OTHER_KEYS = ("train/", "ema/", "ema_")


def check_monitors(configs: DictConfig, callbacks: Sequence[Callback], module: DiffusionModule) -> None:
    """Check each `monitor` in the config group `callbacks` against what a run logs, and its `mode` against the score.

    `configs` are those of the group by their names, `callbacks` all that the run has.

    Raises:
        UserError: the run will not log the key, or the mode takes the worst value for the best.
    """
    sampler = module.sampler
    has_crps = independent_members(sampler.ensemble_size, sampler.antithetic) >= 2
    ema = next((callback for callback in callbacks if isinstance(callback, EMACallback)), None)
    variants = [] if ema is None else list(ema.variants)
    keys = score_keys(variants + [FIRST_GUESS] * (module.residual.std is not None), has_crps)
    for name, node in ((str(name), node) for name, node in configs.items()):
        monitor = node.get("monitor") if node is not None else None
        if monitor is None:
            continue
        if monitor not in keys and not (monitor.startswith(OTHER_KEYS) or logs_more(callbacks)):
            advice = "" if has_crps else " (model.sampler.ensemble_size=4 adds the CRPS)"
            raise UserError(
                f"callbacks.{name}.monitor={monitor} is not logged in this run: set it to one of {', '.join(keys)}{advice}"
            )
        score = (parse_log_key(monitor) or ("", ""))[1]
        best = "max" if score in SCORES and SCORES[score].higher_is_better else "min"
        if monitor in keys and (mode := node.get("mode", "min")) != best:
            raise UserError(
                f"callbacks.{name}.mode={mode} takes the worst {monitor} for the best: set callbacks.{name}.mode={best}"
            )


def score_keys(rows: Sequence[str], has_crps: bool) -> list[str]:
    """The log keys of the scores of a validation: of the weights that it is set to use, and of each of `rows`.

    The CRPS of the first guess, a normal distribution, needs no ensemble.
    """
    keys = ["val/loss"]
    for row in ("", *rows):
        names = [name for name in SCORES if has_crps or name != "crps" or row == FIRST_GUESS]
        keys += log_keys(f"val_{row}" if row else "val", dict.fromkeys(names, 0.0))
    return keys


def logs_more(callbacks: Sequence[Callback]) -> bool:
    """Whether a callback of the user may log keys that are not known here."""
    return not all(
        type(callback).__module__.startswith(("depthdif.", "pytorch_lightning.")) for callback in callbacks
    )
