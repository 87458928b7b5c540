"""Averages of any width from a finished run, scored: the job of `scripts/posthoc_ema.py`. See docs/ema.md."""

from __future__ import annotations

import itertools
import math
import shlex
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
from depthdif.files import atomic_path, near
from depthdif.posthoc_ema.request import combinations_for, open_snapshots, requested_decays, with_checkpoint
from depthdif.posthoc_ema.variant_scores import (
    VariantScores,
    best_width,
    score_figure,
    score_table,
    validation_scores,
    write_scores,
)
from depthdif.scores.score_names import STANDARD
from depthdif.terminal import command, print_lines, progress_bar

TABLE = "widths.csv"
FIGURE = "widths.png"

# Keys of a checkpoint that only a resumed run needs.
RESUME_KEYS = ("optimizer_states", "lr_schedulers", "loops", "callbacks")


def posthoc(cfg: DictConfig) -> float:
    """Rebuild averages from the snapshots of a run, score them, save one as a checkpoint, and print what to run next.

    Args:
        cfg: `conf/posthoc_ema.yaml` as Hydra composes it.

    Returns:
        MSE of the reconstructions with the average that was saved; NaN when these are not finite.

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
    best = best_width(variants)
    by_name = {decay_label(decay): decay for decay in combinations}
    saved = chosen or (by_name[best.name] if best else next(iter(combinations)))
    folder = Path(cfg.output_dir)
    path = write_checkpoint(run, snapshots, saved, combinations[saved], folder)
    units = display_units(run.data.field.units)
    write_scores(variants, folder / TABLE)
    title = f"{run.path.absolute().parent.parent.name}, step {snapshots.step}, {len(snapshots.snapshots)} snapshots"
    save_figure(score_figure(variants, units, title), folder / FIGURE)
    console.print(score_table(variants, units), highlight=False)
    print_lines(console, *left_out, *conclusion(variants, cfg.batches))
    print_lines(console, *next_commands(snapshots, saved, combinations[saved], path))
    return next(v.scores.get("mse", math.nan) for v in variants if v.name == decay_label(saved))


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
            name = decay_label(decay)
            if isinstance(decay, PowerDecay):
                width, kind = decay.width, "tracked" if decay in snapshots.tracked else "rebuilt"
            else:
                width, kind = width_of_constant(decay, snapshots.updates), "constant"
            average = scores(name, snapshots.rebuild(combination))
            variants.append(VariantScores(name, kind, width, combination.fit_error, average))
    return variants


def write_checkpoint(
    run: TrainedRun, snapshots: SnapshotAverages, decay: Decay, combination: Combination, folder: Path
) -> Path:
    """Write the checkpoint of the run with the average of `decay` in place of the tracked ones, and without optimizers."""
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


def conclusion(variants: Sequence[VariantScores], batches: int | None) -> list[str]:
    """Lines that state which width is best, and what limits that result."""
    best, standard = best_width(variants), variants[0]
    if best is None:
        return ["no average reconstructs finite fields: no width can be preferred"]
    gain = 100 * (1 - best.scores["mse"] / standard.scores.get("mse", math.nan))
    if gain > 0:
        lines = [f"best: {best.name}, its MSE is {gain:.1f} % below that of the standard weights"]
    else:
        lines = [
            f"no average beats the standard weights; the best, {best.name}, has an MSE {-gain:.1f} % above"
        ]
    widths = [variant.width for variant in variants if variant.is_power_function and variant.width]
    if best.width in (min(widths), max(widths)) and len(widths) > 1:
        lines.append("it is the narrowest or widest of those scored: the optimum may lie beyond")
    by_loss = best_width(variants, "loss")
    if by_loss is not None and by_loss is not best:
        lines.append(
            f"val/loss prefers {by_loss.name}; MSE favours smooth fields, so compare CRPS and spectra of both with "
            f"{command('evaluate')}"
        )
    if batches is not None:
        what = "one mini-batch" if batches == 1 else f"{batches} mini-batches"
        lines.append(f"scored on {what}: to choose between neighbours set batches=null")
    return lines


def next_commands(
    snapshots: SnapshotAverages, decay: Decay, combination: Combination, path: Path
) -> list[str]:
    """Lines with the files that were written, `path` of the checkpoint among them, and the next commands."""
    if isinstance(decay, PowerDecay):
        overrides, note = f"model/ema=power model.ema.decay={decay}", ""
    else:
        overrides, note = f"model.ema.enabled=true model.ema.decay={decay}", ""
        if (initial := decay**snapshots.updates) > 1e-3:
            note = f", without the {100 * initial:.1f} % that the initial weights would have"
    return [
        f"table and figure: {near(path.parent / TABLE)}, {near(path.parent / FIGURE)}",
        f"checkpoint:       {near(path)} ({decay_label(decay)}, fit error {combination.fit_error:.1e})",
        f"evaluate it:      {command('evaluate')} checkpoint={shlex.quote(near(path))}",
        f"track it:         {command('train')} {overrides}{note}",
    ]
