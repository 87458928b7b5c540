"""Checkpoints of training runs: which one a run goes on from, read once and checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from lightning_fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf, read_write
from torch import Tensor

from depthdif import UserError
from depthdif.build import resolved
from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.ema import read_checkpoint
from depthdif.files import atomic_path, near

LAST = Path("checkpoints", "last.ckpt")
"""The last checkpoint of a run, within its folder."""

# Keys that say where a run is, and not what it is.
PLACES = ("resume", "init_from", "output_dir")


@dataclass(frozen=True)
class RunCheckpoint:
    """The checkpoint that a run goes on from.

    Attributes:
        path: of the file.
        content: of the file; empty once Lightning has taken it over.
        is_own: whether it is of an earlier attempt at the same run, in its folder.
    """

    path: Path
    content: dict[str, Any]
    is_own: bool

    @property
    def steps(self) -> int:
        """Optimizer steps made."""
        return int(self.content["global_step"])


class RunCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, and passes one that was read already to Lightning.

    Lightning writes into the folder of temporary files and moves the result. Where the run folder is on another disk, the move
    is a copy, and a kill in the middle of it leaves neither the new checkpoint nor the one before.
    """

    def __init__(self, opened: RunCheckpoint | None = None) -> None:
        self.opened = opened

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write beside the path, and rename; storages other than a disk are left to Lightning."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with atomic_path(path) as unfinished:
            torch.save(checkpoint, unfinished)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """The content of the opened checkpoint, which is then no longer held here; Lightning moves its tensors to the devices."""
        if self.opened is None or not self.opened.content:
            return super().load_checkpoint(path, map_location, weights_only)
        content = dict(self.opened.content)
        self.opened.content.clear()
        return content


def checkpoint_to_resume(cfg: DictConfig) -> RunCheckpoint | None:
    """The checkpoint that `cfg.resume` asks for: null, "auto" or a path; None for a run from the start.

    The last checkpoint of the run folder itself is that of an earlier attempt at this run. "auto" takes it where there is one;
    a run that began from a path goes on from it too.

    Raises:
        UserError, OSError: the checkpoint cannot be read, or the folder holds another run.
    """
    own = Path(cfg.output_dir) / LAST
    resume, has_own = cfg.resume, own.is_file()
    if resume is None or resume == "auto":
        if not has_own:
            return None
        if resume is None:
            raise UserError(
                f"resume=null, but {near(own)} is there already; set resume=auto to go on with that run, or "
                "hydra.run.dir=runs/NAME to begin a new one"
            )
        return RunCheckpoint(own, read_own_checkpoint(own), is_own=True)
    if not has_own or own.parent.resolve() == Path(resume).parent.resolve():
        return RunCheckpoint(Path(resume), read_run_checkpoint("resume", resume), is_own=has_own)
    content = read_own_checkpoint(own)
    if (began := content["hyper_parameters"].get("resume")) != resume:
        raise UserError(
            f"resume={resume}, but {near(own)} is of a run with resume={began}; set resume=auto to go on with that "
            "run, or hydra.run.dir=runs/NAME to begin a new one"
        )
    return RunCheckpoint(own, content, is_own=True)


def read_own_checkpoint(path: Path) -> dict[str, Any]:
    """The last checkpoint of a run folder; where it cannot be read, the error names the others of the folder."""
    try:
        return read_run_checkpoint("resume", path)
    except UserError as error:
        files = path.parent.glob("*.ckpt")
        others = [file for file in files if file != path and not file.stem.endswith(".unfinished")]
        if not others:
            raise UserError(f"resume=auto: {error}; remove the file to begin anew") from error
        latest = max(others, key=lambda other: other.stat().st_mtime)
        raise UserError(f"resume=auto: {error.__cause__ or error}; set resume={near(latest)}") from error


def read_run_checkpoint(key: str, path: str | Path) -> dict[str, Any]:
    """The content of the checkpoint of a training run at `KEY=PATH`; no code from the file is run.

    Raises:
        FileNotFoundError, UserError: it is missing, truncated, or no checkpoint of a training run.
    """
    try:
        checkpoint = read_checkpoint(path)
    except (FileNotFoundError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else UserError
        raise kind(f"{key}={error}; set {key}=runs/DATE_TIME/checkpoints/last.ckpt") from error
    if not isinstance(checkpoint.get("state_dict"), Mapping):
        raise UserError(
            f"{key}={path}: has no state_dict; set {key} to the path of a checkpoint of a training run"
        )
    return checkpoint


def check_resumed(path: str | Path, checkpoint: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    """Raise UserError where the checkpoint at `path` cannot continue a model with the `expected` state dict."""
    check_architecture(f"resume={path}", expected, checkpoint["state_dict"])
    if "optimizer_states" not in checkpoint:
        raise UserError(
            f"resume={path}: contains weights without an optimizer, so training cannot continue from it; "
            "set resume to a checkpoint saved with callbacks.last_checkpoint.save_weights_only=false"
        )


def check_architecture(source: str, expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> None:
    """Raise UserError where the tensors of the checkpoint `source` do not have the keys and shapes of the model."""
    missing, unknown = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
    common = sorted(expected.keys() & actual.keys())
    reshaped = [key for key in common if expected[key].shape != actual[key].shape]
    if missing or unknown or reshaped:
        raise UserError(
            f"{source}: of another architecture ({len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(reshaped)} of another shape, such as {(reshaped or missing or unknown)[0]}); "
            "set the model/denoiser and data that it was trained with"
        )


def keep_decays(cfg: DictConfig, recorded: Mapping[str, Any]) -> None:
    """Keep the computed decays of the resumed run: those for another length would make other averages."""
    for field, node in list(cfg.model.ema.items()):
        if OmegaConf.is_dict(node):
            cfg.model.ema[field] = recorded["model"]["ema"][field]


def with_overrides_of_resumed_run(cfg: DictConfig) -> tuple[DictConfig, RunCheckpoint | None]:
    """Where a run goes on from a checkpoint, the config of that run with the present overrides applied after its own.

    All of them are then the overrides of the Hydra job, so that the next checkpoint records them.

    Returns:
        That config and the checkpoint; `cfg` and None for a run from the start.

    Raises:
        UserError, OSError: as `checkpoint_to_resume`, or a class that neither the package nor the user names.
    """
    checkpoint = checkpoint_to_resume(cfg)
    if checkpoint is None:
        return cfg, None
    recorded = checkpoint.content.get("hyper_parameters", {})
    now = list(HydraConfig.get().overrides.task)
    earlier = [
        line
        for line in recorded.get("overrides", [])
        if line not in now and line.lstrip("+~").partition("=")[0] not in PLACES
    ]
    resumed = compose(config_name="train", overrides=earlier + now)
    if not any("model.ema" in override or "model/ema" in override for override in now):
        keep_decays(resumed, recorded)
    check_targets(f"resume={checkpoint.path}", resumed, cfg)
    with read_write(HydraConfig.get()):  # type: ignore[arg-type]
        HydraConfig.get().overrides.task = earlier + now
    return resumed, checkpoint


def continuation(cfg: DictConfig, checkpoint: RunCheckpoint) -> str:
    """From which step a run goes on, and which values differ from those of the checkpoint, in one line."""
    recorded = dict(flat(checkpoint.content.get("hyper_parameters", {})))
    place = str(recorded.get("output_dir"))
    changed = [
        f"{key}={value} (was {recorded.get(key)})"
        for key, value in flat(resolved(cfg))
        if key not in PLACES and str(value).replace(cfg.output_dir, place) != str(recorded.get(key))
    ]
    differences = f"; changed: {', '.join(changed)}" if changed else ""
    return f"continuing from step {checkpoint.steps} of {near(checkpoint.path)}{differences}"


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested config by their dotted keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
