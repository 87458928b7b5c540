"""The settings in which runs differ, and which runs may be ranked by their scores (rule 1 of docs/sweeps.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from depthdif.comparison.run import Run

# What determines the scored mini-batch, its truth and its reconstruction, besides the weights.
SCORED = ("data", "model.first_guess", "model.sampler")
# Settings of the data that change the speed of loading or the training samples, but no sample that is scored.
UNSCORED = ("data.num_workers", "data.in_memory", "data.patches_per_epoch")
# What else changes the trained weights.
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


def settings(run: Run) -> dict[str, str]:
    """Every setting of a run by its dotted key, as text; its own folder is written as `${output_dir}`."""
    if run.config is None:
        return {}
    own = run.config.get("output_dir")
    values = dict(dotted(run.config))
    values.pop("output_dir", None)
    if isinstance(own, str) and own:
        values = {key: value.replace(own, "${output_dir}") for key, value in values.items()}
    return values


def dotted(node: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Leaves below `node` with their keys; lists are leaves."""
    if isinstance(node, Mapping) and node:
        return [pair for key, value in node.items() for pair in dotted(value, f"{prefix}.{key}".strip("."))]
    return [(prefix, node if isinstance(node, str) else json.dumps(node, default=str))]


def is_inside(key: str, roots: Sequence[str]) -> bool:
    """Whether a dotted key is one of `roots`, or inside of one."""
    return any(key == root or key.startswith(f"{root}.") for root in roots)


def is_scored(key: str) -> bool:
    """Whether a setting changes the validation data or the reconstruction, rather than the weights."""
    return is_inside(key, SCORED) and not is_inside(key, UNSCORED)


def differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The keys in which the runs with a known config differ, each with one value a run; "" for the other runs."""
    by_run = [settings(run) for run in runs]
    known = [values for values in by_run if values]
    keys = sorted({key for values in known for key in values})
    return {
        key: [values.get(key, ABSENT) if values else "" for values in by_run]
        for key in keys
        if len({values.get(key, ABSENT) for values in known}) > 1
    }


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs whose scores may be ranked together, the largest group first; runs without a score are left out."""
    by_basis: dict[Any, list[Run]] = {}
    for run in runs:
        if any(variant.scores for variant in run.variants):
            values = settings(run)
            basis = frozenset(item for item in values.items() if is_scored(item[0]))
            by_basis.setdefault(basis if values else run.folder, []).append(run)
    return sorted(by_basis.values(), key=len, reverse=True)


def architectures_differ(runs: Sequence[Run]) -> bool:
    """Whether absolute weight distances of these runs do not compare."""
    return any(is_inside(key, ARCHITECTURE) for key in differing(runs))


def comparability(group: Sequence[Run], others: Sequence[Run]) -> str:
    """What may be compared, what not, and why, as sentences; `others` are the runs of the other groups."""
    names = join_names([run.name for run in group])
    parts = []
    if group[0].config is None:
        parts.append(
            f"{names}: settings unknown, so that its scores cannot be compared with those of another run."
        )
    elif others:
        pairs = [differing([group[0], other]) for other in others if other.config]
        keys = sorted({key for pair in pairs for key in pair if is_scored(key)})
        reason = f", which differ in {join_names(keys)}" if keys else ", whose settings are unknown"
        parts.append(
            f"{names}: scores are not comparable with those of the other runs{reason}; "
            "the ratio of EMA to standard weights is."
        )
    elif len(group) > 1:
        parts.append(f"{names}: same validation data, first guess and sampler; the scores compare.")
    keys = [
        k for k in differing(group) if is_inside(k, INFLUENCES) and not is_inside(k, EMA) and not is_scored(k)
    ]
    if keys:
        parts.append(
            f"Besides the EMA these runs differ in {join_names(keys)}: "
            "a difference in score is not that of the decay alone."
        )
    if architectures_differ(group):
        parts.append("The architectures differ: of the weight distances only the relative one compares.")
    return " ".join(parts)


def join_names(names: Sequence[str], most: int = 4) -> str:
    """`a, b and c`; at most `most` of them, as in `a, b and 3 more`."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""
