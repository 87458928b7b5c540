"""Runs on two CPU processes, started by test_distributed.py: python two_processes.py FOLDER.

Each rank writes what it saw to FOLDER/ddp/rank<r>.pt and FOLDER/fsdp2/rank<r>.pt: to start and import costs more than to run.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from depthdif.ema import EMA, EMACallback

DECAY = 0.9


def whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    for part in module.modules():
        if hasattr(part, "reshard"):
            part.reshard()
    return {key: whole(value) for key, value in module.state_dict().items()}


class Net(pl.LightningModule):
    """Odd sizes, so that the shards of FSDP2 are uneven; batch norm under DDP, whose ranks have statistics of their own."""

    def __init__(self, sharded: bool) -> None:
        super().__init__()
        self.sharded = sharded
        torch.manual_seed(0)
        norm = nn.LayerNorm(3) if sharded else nn.BatchNorm1d(3)
        self.net = nn.Sequential(nn.Linear(5, 3), norm, nn.Linear(3, 1, bias=False))
        self.seen: list[dict[str, Tensor]] = []
        self.history: list[dict[str, Tensor]] = []

    def configure_model(self) -> None:
        if self.sharded:
            from torch.distributed.fsdp import FSDPModule, fully_shard

            if not isinstance(self.net, FSDPModule):
                fully_shard(self.net[0], mesh=self.device_mesh["data_parallel"])
                fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def on_train_start(self) -> None:
        self.history.append(snapshot(self))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.net(batch) - 1).square().mean()

    def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
        self.history.append(snapshot(self))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", (self.net(batch) - 1).square().mean(), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self.seen.append(snapshot(self))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.05)


def run(
    kind: str, folder: Path, epochs: int, resume: Path | None = None
) -> tuple[Net, EMACallback, pl.Trainer]:
    net, ema = Net(sharded=kind == "fsdp2"), EMACallback(DECAY, extra_decays=[0.5])
    strategy: Any = DDPStrategy(process_group_backend="gloo")
    if kind == "fsdp2":
        strategy = ModelParallelStrategy(
            data_parallel_size=2,
            tensor_parallel_size=1,
            process_group_backend="gloo",
            save_distributed_checkpoint=False,
        )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        max_epochs=epochs,
        callbacks=[ema],
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **quiet,  # type: ignore[arg-type]
    )
    data = torch.randn(24, 5, generator=torch.Generator().manual_seed(2))
    batches = torch.utils.data.DataLoader(data, batch_size=3)  # type: ignore[arg-type]
    trainer.fit(net, batches, batches, ckpt_path=resume)
    return net, ema, trainer


def main(kind: str, folder: Path) -> None:
    net, ema, trainer = run(kind, folder, epochs=1)
    trainer.save_checkpoint(folder / "one.ckpt")
    trainer.strategy.barrier()
    expected = EMA(DECAY)
    expected.register(net.history[0])
    for weights in net.history[1:]:
        expected.update(weights)
    resumed_net, resumed, _ = run(kind, folder, epochs=2, resume=folder / "one.ckpt")
    uninterrupted_net, uninterrupted, _ = run(kind, folder, epochs=2)
    out = {
        "ema": {key: whole(value) for key, value in ema.ema_weights.items()},
        "expected": expected.get_params(),
        "seen": net.seen[-1],
        "raw": snapshot(net),
        "last": net.history[-1],
        "updates": ema.updates,
        "metrics": {key: float(value) for key, value in trainer.callback_metrics.items()},
        "resumed": {key: whole(value) for key, value in resumed.ema_weights.items()},
        "uninterrupted": {key: whole(value) for key, value in uninterrupted.ema_weights.items()},
        "resumed raw": snapshot(resumed_net),
        "uninterrupted raw": snapshot(uninterrupted_net),
    }
    torch.save(out, folder / f"rank{trainer.global_rank}.pt")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for kind in ("ddp", "fsdp2"):
        main(kind, Path(sys.argv[1]) / kind)
