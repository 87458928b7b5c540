"""Snapshots of the power-function averages during training, from which any other average can be rebuilt afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from depthdif.ema.arguments import check, check_integer
from depthdif.ema.callback import EMACallback
from depthdif.ema.decay import PowerDecay
from depthdif.ema.snapshots import Manifest, inherit, write_snapshot

DTYPES = {"float16": torch.float16, "float32": torch.float32}


class EMASnapshots(Callback):
    """Writes the power-function averages of the `EMACallback` of the trainer into a folder every so many optimizer steps.

    The last step is always among them. Neither training nor the averages change. A resumed run copies the snapshots of the
    earlier one up to its checkpoint. `docs/ema.md` explains their use.

    Args:
        folder: where they go.
        every_n_steps: optimizer steps between two, to begin with; they double whenever there are more than `keep`.
        keep: number of snapshots that are kept at most, at least 4; from half as many on they are evenly spread over the run.
        dtype: "float32" or "float16"; float16 takes half the disk, and its rounding is the error of what is rebuilt.

    Raises:
        ValueError: an argument is out of range; when the training begins, there is nothing to take snapshots of.
    """

    def __init__(
        self, folder: str | Path, every_n_steps: int = 10, keep: int = 32, dtype: str = "float32"
    ) -> None:
        check_integer("EMASnapshots", "callbacks.ema_snapshots.every_n_steps", every_n_steps, 1, 10)
        check_integer("EMASnapshots", "callbacks.ema_snapshots.keep", keep, 4, 10)
        key, expected = "callbacks.ema_snapshots.dtype", "float32 or float16"
        check("EMASnapshots", key, dtype, dtype in DTYPES, expected, "float32")
        self.folder = Path(folder)
        self.keep = keep
        self.dtype = DTYPES[dtype]
        self._begin = Manifest(every_n_steps)
        self._manifest = self._begin
        self._earlier: Path | None = None
        self._step = 0
        self._ema: EMACallback
        self._widths: dict[str, str] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look up the averages; raise ValueError where there is none of a power function, or none is saved."""
        if stage != "fit":
            return
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        ema = next((callback for callback in callbacks if isinstance(callback, EMACallback)), None)
        decays = {} if ema is None else ema.decays
        self._widths = {
            variant: str(decay) for variant, decay in decays.items() if isinstance(decay, PowerDecay)
        }
        if ema is None or not self._widths:
            raise ValueError(
                "EMASnapshots: no power-function average is tracked; set model/ema=power, or model.ema.enabled=true "
                "model.ema.decay=width_0.05, or callbacks.ema_snapshots=null"
            )
        if not ema.save_ema_weights_in_callback_state:
            raise ValueError(
                "EMASnapshots: with model.ema.save_ema_weights_in_callback_state=false a resumed run would begin other averages; "
                "set model.ema.save_ema_weights_in_callback_state=true or callbacks.ema_snapshots=null"
            )
        self._ema = ema
        self._manifest = self._begin

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the snapshots of the resumed run."""
        self._step = trainer.global_step
        earlier, self._earlier = self._earlier, None
        if earlier is None:
            return
        updates = self._ema.updates + self._ema.skipped_updates
        if trainer.is_global_zero:
            try:
                self._manifest = inherit(self.folder, earlier, updates) or self._begin
            except (OSError, ValueError) as error:
                rank_zero_warn(
                    f"EMASnapshots: the snapshots of the resumed run are left out, averages are rebuilt from later ones: {error}"
                )
        self._manifest = trainer.strategy.broadcast(self._manifest)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a snapshot when a multiple of the steps was passed."""
        every = self._manifest.every_n_steps
        if trainer.global_step // every > self._step // every:
            self._take(trainer)
        self._step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the last snapshot."""
        self._take(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The folder, for a run that resumes this one."""
        return {"folder": str(self.folder.absolute())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the folder of the resumed run."""
        self._earlier = Path(state_dict["folder"])

    def _take(self, trainer: Trainer) -> None:
        # All ranks take part: shards are put together here.
        state = self._ema.state_dict()
        updates = state["updates"] + state["skipped_updates"]
        if state["updates"] == 0 or updates in [taken.updates for taken in self._manifest.snapshots]:
            return
        weights = {"ema": state["ema_weights"], **state["extra_ema_weights"]}
        averages = {width: weights[variant] for variant, width in self._widths.items()}
        if trainer.is_global_zero:
            self._manifest = write_snapshot(
                self.folder, self._manifest, averages, trainer.global_step, updates, self.dtype, self.keep
            )
        # The steps between two may have doubled, and all ranks must agree on when the next is due.
        self._manifest = trainer.strategy.broadcast(self._manifest)
