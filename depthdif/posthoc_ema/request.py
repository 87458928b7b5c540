"""The averages that a post-hoc job rebuilds, from its config, and the snapshots to rebuild it from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.ema.checkpoint import canonical
from depthdif.ema.decay import WIDEST, Decay, PowerDecay, decay_label
from depthdif.ema.posthoc import WORST_FIT, Combination, SnapshotAverages

FOLDER = "ema_snapshots"


def requested_decays(cfg: DictConfig) -> tuple[Decay | None, list[PowerDecay]]:
    """The decay of the average to save, None for the best width, and the widths to score.

    Raises:
        UserError: a value out of range, or a width and a decay at once.
    """
    if cfg.width is not None and cfg.decay is not None:
        raise UserError(f"width={cfg.width} and decay={cfg.decay}: expected one of them, such as width=0.07")
    if cfg.batches is not None and not (isinstance(cfg.batches, int) and cfg.batches >= 1):
        raise UserError(f"batches={cfg.batches}: expected an integer >= 1, or null for all; set batches=1")
    if cfg.decay is not None and not (isinstance(cfg.decay, int | float) and 0 < cfg.decay < 1):
        raise UserError(f"decay={cfg.decay}: expected a number with 0 < decay < 1; set decay=0.999")
    decay = cfg.decay if cfg.width is None else parse_width("width", cfg.width, "0.07")
    return decay, [parse_width("widths", width, "[0.05,0.1]") for width in cfg.widths]


def parse_width(key: str, width: Any, example: str) -> PowerDecay:
    """The decay of a relative width, the value of `key` in the config."""
    if isinstance(width, int | float) and not isinstance(width, bool) and 0 < width <= WIDEST:
        return PowerDecay(float(width))
    raise UserError(
        f"{key}={width}: expected a relative width above 0 and at most {WIDEST:.4f}; set {key}={example}"
    )


def with_checkpoint(cfg: DictConfig) -> DictConfig:
    """The config, with the last checkpoint of `run` where that is set.

    Raises:
        FileNotFoundError, UserError: no such run, or not exactly one of `run` and `checkpoint`.
    """
    if (cfg.run is None) == (cfg.checkpoint is None):
        raise UserError(
            f"run={cfg.run} and checkpoint={cfg.checkpoint}: expected one of them, such as run=runs/DATE_TIME"
        )
    if cfg.run is None:
        return cfg
    if not Path(cfg.run).is_dir():
        raise FileNotFoundError(f"run={cfg.run}: no such folder; set run=runs/DATE_TIME")
    return cast("DictConfig", OmegaConf.merge(cfg, {"checkpoint": f"{cfg.run}/checkpoints/last.ckpt"}))


def open_snapshots(run: TrainedRun) -> SnapshotAverages:
    """The snapshots of a run up to the step of its checkpoint: beside the checkpoints, or in the recorded folder.

    Raises:
        FileNotFoundError, UserError: none, a damaged one, or of another architecture than the checkpoint.
    """
    beside = run.path.absolute().parent.parent / FOLDER
    recorded = run.checkpoint.get("callbacks", {}).get("EMASnapshots", {}).get("folder", beside)
    folder = beside if beside.is_dir() else Path(recorded)
    with user_errors():
        snapshots = SnapshotAverages(folder, until=int(run.checkpoint["global_step"]))
    shapes = {key: tuple(tensor.shape) for key, tensor in canonical(run.checkpoint["state_dict"]).items()}
    odd = sorted(key for key, shape in snapshots.shapes.items() if shapes.get(key) != shape)
    if odd:
        raise UserError(
            f"{folder}: snapshots of another architecture than {run.path}, they differ in {odd[0]}; "
            "set a checkpoint of the run that took them"
        )
    return snapshots


def combinations_for(
    snapshots: SnapshotAverages, decay: Decay | None, widths: Sequence[PowerDecay]
) -> tuple[dict[Decay, Combination], list[str]]:
    """Combinations of snapshots by decay, widths ascending and a constant decay last, and a line for each width that has none.

    Args:
        snapshots: of the run; their own widths are always among the combinations.
        decay: of the average to save, or None.
        widths: further ones to score.

    Raises:
        UserError: the snapshots cannot give the average to save.
    """
    combinations: dict[Decay, Combination] = {}
    left_out = []
    with user_errors():
        saved = {} if decay is None else {decay: snapshots.close(decay)}
        powers = {power for power in (*widths, *snapshots.tracked, *saved) if isinstance(power, PowerDecay)}
        for power in sorted(powers, key=lambda power: power.width):
            combination = snapshots.closest(power)
            if combination.fit_error <= WORST_FIT:
                combinations[power] = combination
            else:
                distance = f"the closest profile is {100 * combination.fit_error:.1f} % away"
                left_out.append(f"{decay_label(power)} is left out: {distance}")
    return {**combinations, **saved}, left_out


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise a ValueError, which concerns files and values of the user here, as a UserError."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from error
