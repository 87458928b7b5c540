"""What a post-hoc job prints: which width is best, which files were written, what to run next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from depthdif.ema.decay import Decay, PowerDecay, decay_label
from depthdif.ema.posthoc import Combination, SnapshotAverages
from depthdif.files import near
from depthdif.posthoc_ema.variant_scores import VariantScores, best_width

TABLE = "widths.csv"
FIGURE = "widths.png"


def verdict(variants: Sequence[VariantScores], batches: int | None) -> list[str]:
    """Lines that say which width is best, and what limits that result."""
    best, standard = best_width(variants), variants[0]
    if best is None:
        return ["no average reconstructs finite fields: no width can be preferred"]
    gain = 100 * (1 - best.scores["mse"] / standard.scores.get("mse", math.nan))
    if gain > 0:
        lines = [f"best: {best.name}, its MSE is {gain:.1f} % below that of the standard weights"]
    else:
        lines = [
            f"no average beats the standard weights; {best.name} comes nearest, its MSE is {-gain:.1f} % above"
        ]
    widths = sorted(variant.width for variant in variants if variant.is_power_function and variant.width)
    if best.width in (widths[0], widths[-1]) and len(widths) > 1:
        lines.append("it is the narrowest or widest of those scored: the optimum may lie beyond")
    by_loss = best_width(variants, "loss")
    if by_loss is not None and by_loss is not best:
        lines.append(
            f"val/loss prefers {by_loss.name}; MSE favours smooth fields, so compare CRPS and spectra of both with "
            "scripts/evaluate.py"
        )
    if batches is not None:
        what = "one mini-batch" if batches == 1 else f"{batches} mini-batches"
        lines.append(f"scored on {what}: for a choice between neighbours set batches=null")
    return lines


def written_files(
    snapshots: SnapshotAverages, decay: Decay, combination: Combination, path: Path
) -> list[str]:
    """Lines with the files that were written, and the next commands.

    Args:
        snapshots: of the run.
        decay: of the average that was kept.
        combination: of snapshots, that gives it.
        path: of its checkpoint.
    """
    kept = f"{decay_label(decay)}, fit error {combination.fit_error:.1e}"
    lines = [
        f"table and figure: {near(path.parent / TABLE)}, {near(path.parent / FIGURE)}",
        f"checkpoint:       {near(path)} ({kept})",
        f"evaluate it:      python scripts/evaluate.py checkpoint={shlex.quote(near(path))}",
    ]
    if isinstance(decay, PowerDecay):
        return [*lines, f"track it:         python scripts/train.py model/ema=power model.ema.decay={decay}"]
    initial = decay**snapshots.updates
    share = (
        f", without the {100 * initial:.1f} % that the initial weights would have" if initial > 1e-3 else ""
    )
    return [
        *lines,
        f"track it:         python scripts/train.py model.ema.enabled=true model.ema.decay={decay}{share}",
    ]
