"""Upload of checkpoints to W&B, as artifacts, when a run has ended."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning.callbacks import ModelCheckpoint

from depthdif import UserError
from depthdif.files import near

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger(__name__)

CHOICES = ("best", "last", "all", False)


class CheckpointUpload:
    """Uploads the checkpoints that a run keeps as versions of the artifact `model-RUN_ID`, with the aliases `best` and `last`.

    Args:
        which: "best" of a monitored score, "last", "all" that are kept, or False for none.

    Raises:
        UserError: another value.
    """

    def __init__(self, which: str | bool) -> None:
        if which not in CHOICES:
            raise UserError(
                f"logger.wandb.upload_checkpoints={which}; expected best, last, all or false, "
                "such as logger.wandb.upload_checkpoints=best"
            )
        self.which = which
        self._callbacks: list[ModelCheckpoint] = []

    def saved(self, callback: ModelCheckpoint) -> None:
        """Remember a callback that saves checkpoints."""
        if callback not in self._callbacks:
            self._callbacks.append(callback)

    def files(self) -> dict[Path, list[str]]:
        """The files to upload, with their aliases."""
        files: dict[Path, list[str]] = {}
        for callback in self._callbacks:
            alias = "last" if callback.monitor is None else "best"
            kept = {callback.best_model_path: [alias]}
            if self.which == "all":
                kept |= {path: [] for path in callback.best_k_models if path not in kept}
            if self.which in (alias, "all"):
                files |= {Path(path): aliases for path, aliases in kept.items() if Path(path).is_file()}
        return files

    def upload(self, run: Run) -> None:
        """Log the files; for an offline run they are uploaded by `wandb sync`, from where they are."""
        if not (files := self.files()):
            return
        from wandb import Artifact

        for path, aliases in files.items():
            artifact = Artifact(f"model-{run.id}", type="model", metadata={"file": path.name})
            # Without a copy: a checkpoint is as large as all the rest of a run.
            artifact.add_file(str(path), policy="immutable")
            run.log_artifact(artifact, aliases=aliases)
        names = ", ".join(near(path) for path in files)
        if run.settings.mode == "online":
            log.info("W&B: uploads %s", names)
        else:
            log.info("W&B: wandb sync uploads %s too: keep the files where they are until then", names)
