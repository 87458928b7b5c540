from __future__ import annotations

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from depthdif.callbacks.final_validation import FinalValidation


class Counting(LightningModule):
    """Remembers at which optimizer steps it was validated."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.validated_at: list[int] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated_at.append(self.trainer.global_step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("options", "validated_at"),
    [
        ({"max_steps": 1}, [1]),
        ({"max_steps": 7}, [4, 7]),
        ({"max_steps": 8}, [4, 8]),
        ({"max_epochs": 2}, [4, 8, 10]),
        ({"max_epochs": 4, "max_steps": 6}, [4, 6]),
        ({"max_steps": 3, "accumulate_grad_batches": 2}, [2, 3]),
    ],
    ids=str,
)
def test_a_run_ends_with_one_validation_however_short(
    options: dict[str, int], validated_at: list[int]
) -> None:
    module = Counting()
    trainer = Trainer(
        **options,  # type: ignore[arg-type]
        accelerator="cpu",
        callbacks=[FinalValidation()],
        check_val_every_n_epoch=None,
        val_check_interval=4,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.ones(5, 1)), DataLoader(torch.ones(1, 1)))
    assert module.validated_at == validated_at
    assert trainer.global_step == validated_at[-1]
