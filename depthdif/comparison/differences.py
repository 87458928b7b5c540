"""In what runs differ, and which of them may be ranked by their scores (rule 1 of docs/ema.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from depthdif.comparison.run import Run

# What the scored mini-batch, the truth and the reconstruction of it rest on, besides the weights.
SCORED = ("data", "model.first_guess", "model.sampler")
# Settings of the data that change how fast batches come, or which are trained on, but no sample that is scored.
UNSCORED = ("data.num_workers", "data.in_memory", "data.patches_per_epoch")
# What else changes the weights that training ends with.
INFLUENCES = (
    "seed",
    "model",
    "data.patches_per_epoch",
    "trainer.max_steps",
    "trainer.max_epochs",
    "trainer.precision",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.gradient_clip_val",
    "trainer.accumulate_grad_batches",
    "resume",
)
ARCHITECTURE = ("model.denoiser",)
EMA = ("model.ema",)
ABSENT = "(absent)"
OUTPUT_DIR = "${output_dir}"


@dataclass(frozen=True)
class Group:
    """Runs whose scores may be ranked against each other.

    Attributes:
        runs: at least one.
        words: what may be compared, what not, and why.
        architectures_differ: absolute weight distances of these runs do not compare.
    """

    runs: Sequence[Run]
    words: str
    architectures_differ: bool


def settings(run: Run) -> dict[str, str]:
    """Every setting of a run by its dotted key, as text; its own folder is written as `${output_dir}`."""
    if run.config is None:
        return {}
    own = run.config.get("output_dir")
    found = dict(dotted(run.config))
    found.pop("output_dir", None)
    if isinstance(own, str) and own:
        found = {key: value.replace(own, OUTPUT_DIR) for key, value in found.items()}
    return found


def dotted(node: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Leaves below `node` with their keys; lists are leaves."""
    if isinstance(node, Mapping) and node:
        return [pair for key, value in node.items() for pair in dotted(value, f"{prefix}.{key}".strip("."))]
    return [(prefix, node if isinstance(node, str) else json.dumps(node, default=str))]


def below(key: str, roots: Sequence[str]) -> bool:
    """Whether a dotted key is one of `roots`, or inside of one."""
    return any(key == root or key.startswith(f"{root}.") for root in roots)


def differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The keys in which those runs differ whose config is known, each with one value a run; "" for the others."""
    of_run = [settings(run) for run in runs]
    known = [values for values in of_run if values]
    keys = sorted({key for values in known for key in values})
    return {
        key: [values.get(key, ABSENT) if values else "" for values in of_run]
        for key in keys
        if len({values.get(key, ABSENT) for values in known}) > 1
    }


def groups(runs: Sequence[Run]) -> list[Group]:
    """Runs that may be ranked together; the largest group first, else in the order given. Those without a score are left out."""
    runs = [run for run in runs if any(state.scores for state in run.states)]
    by_basis: dict[Any, list[Run]] = {}
    for run in runs:
        of_run = settings(run)
        basis = tuple(sorted((key, value) for key, value in of_run.items() if is_scored(key)))
        by_basis.setdefault(basis if of_run else ("unknown", run.folder), []).append(run)
    return [described(members, runs) for members in sorted(by_basis.values(), key=len, reverse=True)]


def is_scored(key: str) -> bool:
    """Whether a setting changes what is scored, rather than the weights that are."""
    return below(key, SCORED) and not below(key, UNSCORED)


def described(members: Sequence[Run], runs: Sequence[Run]) -> Group:
    """A group with what is to be said of it."""
    names = listed([run.name for run in members])
    others = [run for run in runs if run not in members]
    inside = differing(members)
    changed = [key for key in inside if below(key, INFLUENCES) and not below(key, EMA) and not is_scored(key)]
    architectures_differ = any(below(key, ARCHITECTURE) for key in inside)
    parts = []
    if members[0].config is None:
        parts.append(
            f"{names}: settings unknown, so that its scores cannot be compared with those of another run."
        )
    elif others:
        keys = sorted(
            {
                key
                for other in others
                if other.config
                for key in differing([members[0], other])
                if is_scored(key)
            }
        )
        reason = f", which differ in {listed(keys)}" if keys else ", whose settings are unknown"
        parts.append(
            f"{names}: MSE, PSNR and SSIM are not comparable with those of the other runs{reason}; "
            "the ratio of EMA to standard weights is."
        )
    elif len(members) > 1:
        parts.append(f"{names}: same validation data, first guess and sampler; the scores compare.")
    if changed:
        parts.append(
            f"Besides the EMA these runs differ in {listed(changed)}: "
            "a difference in score is not that of the decay alone."
        )
    if architectures_differ:
        parts.append("The architectures differ: of the weight distances only the relative one compares.")
    return Group(members, " ".join(parts), architectures_differ)


def listed(words: Sequence[str], most: int = 4) -> str:
    """`a, b and c`; no more than `most` of them."""
    shown = list(words[:most])
    if len(words) > most:
        shown.append(f"{len(words) - most} more")
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""
