"""Averages of any width out of a finished run, scored: what `scripts/posthoc_ema.py` does. See docs/ema.md."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from depthdif.checkpoints.trained_run import TrainedRun, device_of, open_trained
from depthdif.ema.checkpoint import canonical
from depthdif.ema.decay import Decay, PowerDecay, decay_label, format_decay
from depthdif.ema.posthoc import Combination, SnapshotAverages, width_of_constant
from depthdif.figures.panel import display_units, save_figure
from depthdif.files import atomic_path
from depthdif.posthoc_ema.request import combinations_for, open_snapshots, requested_decays, with_checkpoint
from depthdif.posthoc_ema.summary import FIGURE, TABLE, verdict, written_files
from depthdif.posthoc_ema.variant_scores import (
    VariantScores,
    best_width,
    score_figure,
    score_table,
    validation_scores,
    write_scores,
)
from depthdif.scores.score_names import STANDARD
from depthdif.terminal import print_lines, progress_bar

# Keys of a checkpoint that only a resumed run needs.
RESUME_KEYS = ("optimizer_states", "lr_schedulers", "loops", "callbacks")


def posthoc(cfg: DictConfig) -> float:
    """Rebuild averages from the snapshots of a run, score them, keep one as a checkpoint, and print what to run next.

    Args:
        cfg: `conf/posthoc_ema.yaml` as Hydra composes it.

    Returns:
        MSE of the reconstructions with the average that was kept; NaN when these are not finite.

    Raises:
        FileNotFoundError, UserError: bad input, in one line and before anything is scored.
    """
    chosen, widths = requested_decays(cfg)
    device = device_of(cfg.accelerator)
    run = open_trained(with_checkpoint(cfg))
    snapshots = open_snapshots(run)
    console = Console()
    combinations, left_out = combinations_for(snapshots, chosen, widths)
    variants = score(run, snapshots, combinations, device, cfg.batches, console)
    kept = chosen if chosen is not None else best_decay(variants, combinations)
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = write_checkpoint(run, snapshots, kept, combinations[kept], folder)
    units = display_units(run.data.field.units)
    write_scores(variants, folder / TABLE)
    title = f"{run.path.absolute().parent.parent.name}, step {snapshots.step}, {len(snapshots.snapshots)} snapshots"
    save_figure(score_figure(variants, units, title), folder / FIGURE)
    console.print(score_table(variants, units), highlight=False)
    print_lines(console, *left_out, *verdict(variants, cfg.batches))
    print_lines(console, *written_files(snapshots, kept, combinations[kept], path))
    return next(
        variant.scores.get("mse", math.nan) for variant in variants if variant.name == decay_label(kept)
    )


def score(
    run: TrainedRun,
    snapshots: SnapshotAverages,
    combinations: Mapping[Decay, Combination],
    device: torch.device,
    batches: int | None,
    console: Console,
) -> list[VariantScores]:
    """The standard weights and every average on the validation set, with a progress bar."""
    shown = list(itertools.islice(run.data.val_dataloader(), batches))
    standard = canonical(run.checkpoint["state_dict"])
    module = run.module.to(device)
    with progress_bar(console) as progress:
        task = progress.add_task("", total=len(shown) * (1 + len(combinations)))

        def scores(name: str, weights: Mapping[str, Tensor]) -> dict[str, float]:
            progress.update(task, description=f"{name:>14}")
            module.load_state_dict({**standard, **weights})
            return validation_scores(module, run.data, shown, run.precision, lambda: progress.advance(task))

        variants = [VariantScores(STANDARD, STANDARD, None, None, scores(STANDARD, {}))]
        for decay, combination in combinations.items():
            name, (width, kind) = decay_label(decay), width_and_kind(decay, snapshots)
            average = scores(name, snapshots.rebuild(combination))
            variants.append(VariantScores(name, kind, width, combination.fit_error, average))
    return variants


def width_and_kind(decay: Decay, snapshots: SnapshotAverages) -> tuple[float, str]:
    """Relative width of an average, and its `VariantScores.kind`."""
    if isinstance(decay, PowerDecay):
        return decay.width, "tracked" if decay in snapshots.tracked else "rebuilt"
    return width_of_constant(decay, snapshots.updates), "constant"


def best_decay(variants: Sequence[VariantScores], combinations: Mapping[Decay, Combination]) -> Decay:
    """The decay with the smallest MSE; the first one where no MSE is finite."""
    best = best_width(variants)
    return next(
        (decay for decay in combinations if best and decay_label(decay) == best.name),
        next(iter(combinations)),
    )


def write_checkpoint(
    run: TrainedRun, snapshots: SnapshotAverages, decay: Decay, combination: Combination, folder: Path
) -> Path:
    """The checkpoint of the run, with the average of `decay` in the place of those that were tracked, and without optimizers."""
    average = {
        "decay": format_decay(decay),
        "steps": snapshots.step,
        "updates": snapshots.updates,
        "skipped_updates": 0,
        "is_seeded": True,
        "ema_weights": snapshots.rebuild(combination),
        "extra_ema_weights": {},
    }
    provenance = {
        "checkpoint": str(run.path),
        "snapshots": [snapshot.file for snapshot in snapshots.snapshots],
        "fit_error": combination.fit_error,
    }
    content = {key: value for key, value in run.checkpoint.items() if key not in RESUME_KEYS}
    path = folder / f"{decay_label(decay).replace(' ', '_')}.ckpt"
    with atomic_path(path) as unfinished:
        torch.save({**content, "callbacks": {"EMACallback": average}, "posthoc_ema": provenance}, unfinished)
    return path
