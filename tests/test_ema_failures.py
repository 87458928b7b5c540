"""What went wrong in EMA code elsewhere, each as a test of what happens here. Issue numbers name who taught it."""

from __future__ import annotations

import copy
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback, ModelCheckpoint
from pytorch_lightning.plugins.io import AsyncCheckpointIO
from torch import Tensor, nn

from depthdif.ema import EMA, EMACallback, averaged, load_weights

DECAY = 0.9


class Net(pl.LightningModule):
    """Linear, batch norm, dropout, a frozen layer, tied weights, integer and boolean buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.first.weight
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("causal", torch.full((2, 2), -torch.inf).triu(1))
        self.seen: list[dict[str, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.dropout(self.norm(self.first(x)), 0.2, self.training)
        return self.tied(self.frozen(hidden))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.count += 1
        return (self(batch) - 1).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", (self(batch) - 1).square().mean())
        self.seen.append(snapshot(self))

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(snapshot(self))
        return self(batch)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Recorder(pl.Callback):
    """Raw weights after every optimizer step, seen from outside; index 0 is before the first."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.weights:
            self.weights.append(snapshot(pl_module))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step >= len(self.weights):
            self.weights.append(snapshot(pl_module))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[key], other[key], atol=1e-6) for key in one)


def loader(batches: int = 6) -> torch.utils.data.DataLoader[Tensor]:
    data = torch.randn(4 * batches, 4, generator=torch.Generator().manual_seed(1))
    return torch.utils.data.DataLoader(data, batch_size=4)  # type: ignore[arg-type]


def trainer_with(*callbacks: pl.Callback | None, **options: Any) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    sizes = {"max_epochs": 1, "num_sanity_val_steps": 0}
    has_file = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    used = [callback for callback in callbacks if callback is not None]
    return pl.Trainer(callbacks=used, **(quiet | sizes | {"enable_checkpointing": has_file} | options))


def new_net(kind: type[pl.LightningModule] = Net) -> Any:
    pl.seed_everything(0, verbose=False)
    return kind()


def fit(*callbacks: pl.Callback | None, net: Any = None, **options: Any) -> tuple[Any, pl.Trainer]:
    net = new_net() if net is None else net
    trainer = trainer_with(*callbacks, **options)
    pl.seed_everything(1, verbose=False)
    trainer.fit(net, loader(), loader(2))
    return net, trainer


def oracle(weights: list[dict[str, Tensor]], first: int = 1, every: int = 1, decay: float = DECAY) -> EMA:
    """The plain average of recorded weights: seeded by those before step `first`."""
    ema = EMA(decay)
    ema.register(weights[max(first, 1) - 1])
    for step in range(max(first, 1), len(weights)):
        if step % every == 0:
            ema.update(weights[step])
    return ema


# One update per optimizer step.


def test_one_update_per_optimizer_step_under_accumulation_with_a_partial_last_window() -> None:
    ema, recorder = EMACallback(DECAY), Recorder()  # F5-TTS#631
    fit(recorder, ema, accumulate_grad_batches=4, max_epochs=2)
    assert ema.updates == 4
    assert close(ema.ema_weights, oracle(recorder.weights).get_params())


def test_every_step_of_two_manual_optimizers_is_one_update() -> None:
    class TwoOptimizers(Net):
        automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward((self(batch) - 1).square().mean())
                optimizer.step()
                with torch.no_grad():
                    self.first.bias.clamp_(-0.01, 0.01)  # weights count as the module leaves them
                history.append(snapshot(self))

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD([self.first.weight], 0.1), torch.optim.SGD([self.first.bias], 0.1)]

    ema, net = EMACallback(DECAY), new_net(TwoOptimizers)  # pytorch-lightning#17958
    history = [snapshot(net)]
    fit(ema, net=net)
    assert ema.updates == len(history) - 1 == 12
    # Buffers change between the last step of a batch and the next forward pass only, so all keys agree but these.
    expected = oracle(history).get_params()
    assert all(
        torch.allclose(ema.ema_weights[key], expected[key], atol=1e-6) for key, _ in net.named_parameters()
    )


def test_a_step_that_mixed_precision_skips_is_no_update() -> None:
    class Skipping(Net):
        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, closure: Callable[[], Any]
        ) -> None:
            closure() if batch_idx == 2 else optimizer.step(closure)

    ema = EMACallback(DECAY)
    fit(ema, net=new_net(Skipping))
    assert ema.updates == 5


@pytest.mark.parametrize(("first", "every"), [(0, 1), (1, 1), (3, 1), (4, 2), (0, 3)])
def test_updates_start_at_start_step_and_come_every_n_steps(first: int, every: int) -> None:
    ema, recorder = EMACallback(DECAY, apply_every_n_steps=every, start_step=first), Recorder()
    fit(recorder, ema, max_epochs=2)
    assert close(ema.ema_weights, oracle(recorder.weights, first, every).get_params())


def test_a_delayed_start_leaves_nothing_of_the_initial_weights() -> None:
    ema, recorder = EMACallback(0.0, start_step=10), Recorder()  # FastVideo#1440
    net, _ = fit(recorder, ema, max_epochs=1)
    assert ema.updates == 0
    assert equal(ema.ema_weights, snapshot(net))


def test_validation_before_the_first_update_sees_the_current_weights_and_fit_leaves_them() -> None:
    for ema in (EMACallback(DECAY, apply_every_n_steps=100), EMACallback(DECAY, start_step=100)):
        recorder = Recorder()  # pytorch-lightning#21724
        net, _ = fit(recorder, ema, val_check_interval=2)
        assert [
            equal(seen, recorder.weights[step]) for seen, step in zip(net.seen[::2], (2, 4, 6), strict=True)
        ]
        assert equal(net.seen[-1], recorder.weights[6])
        assert equal(snapshot(net), recorder.weights[6])


def test_sanity_validation_neither_updates_nor_spoils() -> None:
    runs = []
    for steps in (0, 2):
        ema = EMACallback(DECAY)
        net, trainer = fit(ema, num_sanity_val_steps=steps)
        runs.append((ema.ema_weights, snapshot(net), ema.updates))
        assert not any("sanity" in key for key in trainer.callback_metrics)
    assert equal(runs[0][0], runs[1][0])
    assert equal(runs[0][1], runs[1][1])
    assert runs[0][2] == runs[1][2] == 6


# Weights and buffers.


def test_one_step_of_nan_weights_is_left_out_and_counted_and_warns_once() -> None:
    class Bursting(Net):
        def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
            if batch_idx == 3:
                self.load_state_dict(self.kept)

        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
            optimizer.step(closure)
            if batch_idx == 1:
                self.kept = snapshot(self)
            if batch_idx == 2:
                self.first.bias.data[0] = torch.inf

    ema, recorder = EMACallback(DECAY), Recorder()  # ultralytics#24731
    with pytest.warns(UserWarning, match="NaN or infinite at optimizer step 3;") as warned:
        _, trainer = fit(recorder, ema, net=new_net(Bursting))
    assert sum("NaN or infinite" in str(warning.message) for warning in warned) == 1
    assert trainer.callback_metrics["ema/skipped_updates"] == 1
    assert ema.updates == 5
    assert close(ema.ema_weights, oracle(recorder.weights).get_params())


def test_integer_and_boolean_buffers_and_masks_of_infinity_are_copied() -> None:
    ema = EMACallback(DECAY)  # espnet#2283
    net, _ = fit(ema)
    assert ema.ema_weights["count"] == net.count == 6
    assert ema.ema_weights["norm.num_batches_tracked"] == 6
    assert torch.equal(ema.ema_weights["mask"], net.mask)
    assert torch.equal(ema.ema_weights["causal"], net.causal)


def test_batch_norm_statistics_are_those_of_the_averages_not_the_initial_ones() -> None:
    ema, recorder = EMACallback(DECAY), Recorder()  # timm#245
    net, _ = fit(recorder, ema)
    expected = oracle(recorder.weights).get_params()["norm.running_var"]
    assert torch.allclose(net.seen[-1]["norm.running_var"], expected, atol=1e-6)
    assert not torch.equal(expected, torch.ones(4))


def test_frozen_parameters_are_never_overwritten() -> None:
    ema = EMACallback(DECAY)  # trl#7043
    before = snapshot(new_net().frozen)
    net, _ = fit(ema, max_epochs=3)
    assert equal(snapshot(net.frozen), before)
    assert torch.equal(ema.ema_weights["frozen.weight"], before["weight"])


def test_tied_weights_stay_tied_in_the_module_and_in_the_file(tmp_path: Path) -> None:
    class Looking(Net):
        def on_validation_epoch_end(self) -> None:
            assert self.tied.weight is self.first.weight
            assert self.tied.weight.data_ptr() == self.first.weight.data_ptr()

    ema = EMACallback(DECAY)  # luxonis-train#372
    net, trainer = fit(ema, net=new_net(Looking))
    assert net.tied.weight is net.first.weight
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    for weights in (saved["state_dict"], saved["callbacks"]["EMACallback"]["ema_weights"]):
        assert weights["tied.weight"].data_ptr() == weights["first.weight"].data_ptr()


def test_buffers_written_in_validation_keep_what_the_module_wrote() -> None:
    class Writing(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("batches", torch.zeros(()))
            self.register_buffer("replaced", torch.zeros(1))

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.batches += 1
            self.replaced = self.replaced + 1
            with ema.weights("standard"):
                assert self.batches == batch_idx + 1
            assert self.batches == batch_idx + 1

    ema = EMACallback(DECAY)
    net, _ = fit(ema, net=new_net(Writing))
    assert net.batches == 2
    assert net.replaced == 2
    assert ema.ema_weights["batches"] == ema.ema_weights["replaced"] == 0


def test_an_optimizer_step_in_validation_is_one_of_the_raw_weights_and_one_update() -> None:
    class TrainingInValidation(Net):
        automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward((self(batch) - 1).square().mean())
            optimizer.step()
            with ema.weights("standard"):
                history.append(snapshot(self))

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            with torch.enable_grad():
                self.training_step(batch, batch_idx)
            ema.state_dict()  # as for a checkpoint, which counts the step

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.first.parameters(), 0.1)

    ema, net = EMACallback(DECAY), new_net(TrainingInValidation)
    history = [snapshot(net)]
    fit(ema, net=net, inference_mode=False, limit_train_batches=5, val_check_interval=3)
    assert ema.updates == len(history) - 1 == 7
    assert equal(snapshot(net), history[-1])
    expected = oracle(history).get_params()
    assert all(
        torch.allclose(ema.ema_weights[key], expected[key], atol=1e-6) for key, _ in net.named_parameters()
    )


def test_buffers_that_training_replaces_by_new_tensors_are_followed() -> None:
    class Replacing(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("level", torch.zeros(()))

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            self.level = self.level + 1
            return super().training_step(batch, batch_idx)

    ema, recorder = EMACallback(DECAY), Recorder()
    fit(recorder, ema, net=new_net(Replacing))
    assert ema.ema_weights["level"] == oracle(recorder.weights).get_params()["level"] > 0


def test_the_module_hook_at_the_end_of_validation_sees_the_weights_that_validation_ran_with() -> None:
    class Looking(Net):
        def on_validation_epoch_end(self) -> None:
            self.at_end = snapshot(self)

    ema = EMACallback(DECAY)
    net, _ = fit(ema, net=new_net(Looking))
    assert equal(net.at_end, net.seen[-1])
    assert equal(net.at_end, ema.ema_weights)
    assert not equal(net.at_end, snapshot(net))


def test_a_copy_of_the_module_made_in_validation_is_its_own() -> None:
    class Exporting(Net):
        def on_validation_epoch_end(self) -> None:
            self.exported = [copy.deepcopy(self.first), pickle.loads(pickle.dumps(self.norm))]

    ema = EMACallback(DECAY)
    net, _ = fit(ema, net=new_net(Exporting))
    first, norm = net.__dict__.get("exported", net.exported)
    assert torch.equal(first.weight, ema.ema_weights["first.weight"])
    assert torch.equal(norm.running_mean, ema.ema_weights["norm.running_mean"])
    assert not torch.equal(first.weight, net.first.weight)


# Checkpoints: raw is raw and average is average.


def saved_roles(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    checkpoint = torch.load(path, weights_only=True)
    return checkpoint["state_dict"], checkpoint["callbacks"]["EMACallback"]["ema_weights"]


@pytest.mark.parametrize("weights_only", [False, True])
def test_a_checkpoint_written_while_averages_are_swapped_in_keeps_the_roles(
    tmp_path: Path, weights_only: bool
) -> None:
    class Saving(Net):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.trainer.save_checkpoint(tmp_path / "mid.ckpt", weights_only=weights_only)
            assert equal(snapshot(self), self.seen[-1])

    ema, recorder = EMACallback(DECAY), Recorder()  # nequip#590, schnetpack#785, sparseml#1493
    net, _ = fit(recorder, ema, net=new_net(Saving))
    raw, average = saved_roles(tmp_path / "mid.ckpt")
    assert equal(raw, recorder.weights[-1])
    assert equal(average, ema.ema_weights)
    assert equal(average, net.seen[-1])


@pytest.mark.parametrize("moment", range(4, 292, 8))
def test_a_signal_in_the_middle_of_an_exchange_saves_the_right_roles(tmp_path: Path, moment: int) -> None:
    class Writing(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("validated", torch.zeros(()))

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.validated += 1

    net, ema, recorder = new_net(Writing), EMACallback(DECAY), Recorder()
    trainer = trainer_with(recorder, ema)
    lines = 0

    def at_each_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        file, function = Path(frame.f_code.co_filename).name, frame.f_code.co_qualname
        if file != "exchange.py" or not function.startswith(("Exchange.", "_set")):
            return None
        lines += event == "line"
        if lines == moment and event == "line":
            sys.settrace(None)
            signal.raise_signal(signal.SIGUSR1)
        return at_each_line

    def save(*_: Any) -> None:
        trainer.save_checkpoint(tmp_path / "signal.ckpt")

    handler, tracer = signal.signal(signal.SIGUSR1, save), sys.gettrace()
    recorder.on_train_epoch_start = lambda *_: sys.settrace(at_each_line)  # type: ignore[method-assign]
    try:
        trainer.fit(net, loader(), loader(2))
    finally:
        sys.settrace(tracer)
        signal.signal(signal.SIGUSR1, handler)
    raw, average = saved_roles(tmp_path / "signal.ckpt")
    trained = recorder.weights[-1]
    assert all(torch.equal(raw[key], trained[key]) for key in trained if key != "validated")
    assert equal(average, ema.ema_weights)
    assert equal(net.seen[0], average)
    assert equal(snapshot(net), trained | {"validated": torch.tensor(2.0)})


def test_a_checkpoint_written_on_an_exception_in_validation_keeps_the_roles(tmp_path: Path) -> None:
    class Failing(Net):
        def on_validation_epoch_end(self) -> None:
            raise RuntimeError("disk full")

    saver = ModelCheckpoint(tmp_path, save_last=True, save_on_exception=True)
    ema, recorder = EMACallback(DECAY), Recorder()  # deepmd-kit#5420
    with pytest.raises(RuntimeError, match="disk full"):
        fit(saver, recorder, ema, net=new_net(Failing))
    paths = list(tmp_path.glob("*.ckpt"))
    assert paths
    for path in paths:
        raw, average = saved_roles(path)
        assert equal(raw, recorder.weights[-1])
        assert equal(average, ema.ema_weights)


def test_a_weights_only_file_of_model_checkpoint_holds_both(tmp_path: Path) -> None:
    ema = EMACallback(DECAY)  # sparseml#1493
    net, _ = fit(ModelCheckpoint(tmp_path, filename="a", save_weights_only=True), ema)
    assert equal(load_weights(tmp_path / "a.ckpt", "standard").state_dict, snapshot(net))
    assert equal(load_weights(tmp_path / "a.ckpt").state_dict, ema.ema_weights)


def test_several_model_checkpoints_all_hold_both(tmp_path: Path) -> None:
    savers = [
        ModelCheckpoint(tmp_path / "a", monitor="val/loss", filename="{epoch}"),
        ModelCheckpoint(tmp_path / "b", every_n_train_steps=4, filename="{step}"),
        ModelCheckpoint(tmp_path / "c", save_weights_only=True, save_on_train_epoch_end=False),
    ]
    ema, recorder = EMACallback(DECAY), Recorder()
    fit(*savers, recorder, ema, val_check_interval=3)
    paths = sorted(tmp_path.glob("*/*.ckpt"))
    assert len(paths) == 3
    for path in paths:
        step = torch.load(path, weights_only=True)["global_step"]
        raw, average = saved_roles(path)
        assert equal(raw, recorder.weights[step])
        assert close(average, oracle(recorder.weights[: step + 1]).get_params())


def test_what_is_captured_does_not_change_afterwards(tmp_path: Path) -> None:
    class Keeping(AsyncCheckpointIO):
        kept: list[tuple[Any, Any]] = []  # noqa: RUF012

        def save_checkpoint(self, checkpoint: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            self.kept.append((checkpoint, copy.deepcopy(checkpoint)))

    ema = EMACallback(DECAY)
    plugin = Keeping()
    fit(ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1), ema, plugins=[plugin], max_epochs=2)
    assert len(plugin.kept) >= 6
    for live, at_the_time in plugin.kept:
        assert equal(live["state_dict"], at_the_time["state_dict"])
        states = [checkpoint["callbacks"]["EMACallback"]["ema_weights"] for checkpoint in (live, at_the_time)]
        assert equal(states[0], states[1])


def test_without_saving_in_the_callback_state_files_hold_no_averages(tmp_path: Path) -> None:
    ema = EMACallback(DECAY, save_ema_weights_in_callback_state=False)
    net, trainer = fit(ema)
    for weights_only in (False, True):
        trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=weights_only)
        state, which = load_weights(tmp_path / "a.ckpt")
        assert which == "standard"
        assert equal(state, snapshot(net))


def test_the_model_owns_no_ema_state() -> None:
    net, _ = fit(EMACallback(DECAY, extra_decays=[0.5]))
    assert net.state_dict().keys() == Net().state_dict().keys()
    assert pickle.loads(pickle.dumps(net)).state_dict().keys() == net.state_dict().keys()
    assert set(vars(net)) == set(vars(fit()[0]))


# Exceptions.


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["validation_step", "on_validation_epoch_end", "inside_weights"])
def test_an_exception_in_validation_restores_the_raw_weights_and_a_second_fit_works(
    error: type[BaseException], place: str
) -> None:
    class Failing(Net):
        fails = True

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            if self.fails and place == "validation_step":
                raise error
            with ema.weights("standard"):
                if self.fails and place == "inside_weights":
                    raise error

        def on_validation_epoch_end(self) -> None:
            if self.fails:
                raise error

    ema, recorder, net = EMACallback(DECAY), Recorder(), new_net(Failing)  # Open-Sora-Plan#186
    trainer = trainer_with(recorder, ema)
    expected = (SystemExit, KeyboardInterrupt) if error is KeyboardInterrupt else error
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(expected):
            trainer.fit(net, loader(), loader(2))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert equal(snapshot(net), recorder.weights[-1])
    net.fails = False
    again, _ = fit(ema, net=net)
    assert again.seen
    assert ema.updates == 6
    assert not equal(ema.ema_weights, snapshot(net))


# Evaluation: which weights are seen.


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
@pytest.mark.parametrize("process", ["same trainer", "fresh process"])
@pytest.mark.parametrize("weights_only", [False, True])
def test_evaluating_an_older_checkpoint_uses_its_own_averages(
    tmp_path: Path, verb: str, process: str, weights_only: bool
) -> None:
    ema, recorder = EMACallback(DECAY), Recorder()  # luxonis-train#171, composer#2088
    saver = ModelCheckpoint(
        tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}", save_weights_only=weights_only
    )
    net, trainer = fit(saver, recorder, ema)
    if process == "fresh process":
        net, trainer = Net(), trainer_with(EMACallback(DECAY))
    net.seen.clear()
    getattr(trainer, verb)(net, loader(1), ckpt_path=tmp_path / "step=2.ckpt")
    assert close(net.seen[-1], oracle(recorder.weights[:3]).get_params())
    assert equal(snapshot(net), recorder.weights[2])


def test_evaluating_a_checkpoint_without_averages_uses_its_standard_weights(tmp_path: Path) -> None:
    plain, without = fit(None, max_epochs=2)
    without.save_checkpoint(tmp_path / "plain.ckpt")
    net, trainer = fit(EMACallback(DECAY))
    trainer.validate(net, loader(1), ckpt_path=tmp_path / "plain.ckpt", verbose=False)
    assert equal(net.seen[-1], snapshot(plain))


def test_averages_of_a_finished_fit_are_evaluated_without_a_checkpoint_twice_the_same() -> None:
    ema = EMACallback(DECAY)
    net, trainer = fit(ema)
    raw = snapshot(net)
    results = [trainer.validate(net, loader(2), verbose=False) for _ in range(2)]
    assert results[0] == results[1]
    assert equal(net.seen[-1], ema.ema_weights)
    assert equal(snapshot(net), raw)


def test_standard_weights_are_evaluated_where_that_is_configured() -> None:
    ema = EMACallback(DECAY, evaluate_ema_weights_instead=False)
    net, trainer = fit(ema)
    assert ema.evaluates == "standard"
    assert equal(net.seen[-1], snapshot(net))
    assert trainer.callback_metrics["ema/weight_rms_delta"] > 0
    with ema.weights("ema"):
        assert equal(snapshot(net), ema.ema_weights)


def test_weights_that_somebody_loads_after_the_fit_are_evaluated_as_they_are() -> None:
    net, trainer = fit(EMACallback(DECAY))
    mine = snapshot(new_net())
    net.load_state_dict(mine)
    with pytest.warns(UserWarning, match="weights were changed since the last run"):
        trainer.validate(net, loader(1), verbose=False)
    assert equal(net.seen[-1], mine)


def test_another_module_in_the_same_trainer_is_evaluated_with_its_own_weights() -> None:
    _, trainer = fit(EMACallback(DECAY))
    other = Net()
    trainer.validate(other, loader(1), verbose=False)
    assert equal(other.seen[-1], snapshot(other))


def test_one_callback_serves_a_second_run_with_another_module() -> None:
    ema = EMACallback(DECAY)
    fit(ema, max_epochs=2)
    recorder = Recorder()
    torch.manual_seed(5)
    fit(recorder, ema, net=Net())
    assert ema.updates == 6
    assert close(ema.ema_weights, oracle(recorder.weights).get_params())


def test_a_fit_that_goes_on_in_the_same_trainer_goes_on_with_its_averages() -> None:
    ema, recorder = EMACallback(DECAY), Recorder()
    net, trainer = fit(recorder, ema)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(net, loader(), loader(2))
    assert ema.updates == 12
    assert close(ema.ema_weights, oracle(recorder.weights).get_params())


# Training is the same with and without.


def test_training_with_validation_in_mid_epoch_and_mid_accumulation_is_bit_identical_to_no_ema() -> None:
    options = {
        "max_epochs": 2,
        "accumulate_grad_batches": 4,
        "val_check_interval": 3,
        "num_sanity_val_steps": 2,
    }
    with_ema, trainer = fit(EMACallback(DECAY, extra_decays=[0.5], warmup=True), **options)
    without, plain_trainer = fit(None, **options)
    assert equal(snapshot(with_ema), snapshot(without))
    states = [t.optimizers[0].state_dict()["state"] for t in (trainer, plain_trainer)]
    for one, other in zip(states[0].values(), states[1].values(), strict=True):
        assert equal(one, other)


def test_extra_decays_of_one_run_equal_separate_runs_bit_for_bit(tmp_path: Path) -> None:
    decays = [0.9, 0.5, 0.99]
    swept = EMACallback(decays[0], extra_decays=decays[1:], warmup=True)
    net, trainer = fit(swept, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "sweep.ckpt")
    for decay in decays:
        single = EMACallback(decay, warmup=True)
        alone, alone_trainer = fit(single, max_epochs=2)
        name = "ema" if decay == decays[0] else f"ema_{decay}"
        assert equal(load_weights(tmp_path / "sweep.ckpt", decay).state_dict, single.ema_weights)
        with swept.weights(name), single.weights("ema"):
            assert equal(snapshot(net), snapshot(alone))
        scalars = alone_trainer.callback_metrics
        swept_scalars = trainer.callback_metrics
        assert swept_scalars[f"{name}/weight_rms_delta"] == scalars["ema/weight_rms_delta"]


# Resume.


def resumed(path: Path, callback: EMACallback | None, **options: Any) -> tuple[Any, pl.Trainer]:
    net, trainer = new_net(NoDropout), trainer_with(callback, **options)
    trainer.fit(net, loader(), loader(2), ckpt_path=path)
    return net, trainer


class NoDropout(Net):
    """Resumes bit for bit: there is no random state to restore."""

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.frozen(self.norm(self.first(x))))


@pytest.mark.parametrize(
    "settings", [{}, {"start_step": 2}, {"start_step": 7}, {"apply_every_n_steps": 4}, {"warmup": True}]
)
def test_resume_is_bit_exact(tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = EMACallback(
        DECAY, extra_decays=[0.5], **settings
    )  # Samudra#313, FastVideo#1441, lightly-train#892
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    uninterrupted, _ = fit(saver, whole, net=new_net(NoDropout), max_epochs=3)
    half = EMACallback(DECAY, extra_decays=[0.5], **settings)
    net, _ = resumed(tmp_path / "epoch=0.ckpt", half, max_epochs=3)
    assert equal(snapshot(net), snapshot(uninterrupted))
    assert equal(half.ema_weights, whole.ema_weights)
    assert half.updates == whole.updates
    with half.weights("ema_0.5"), whole.weights("ema_0.5"):
        assert equal(snapshot(net), snapshot(uninterrupted))


def test_resume_in_mid_epoch_is_bit_exact(tmp_path: Path) -> None:
    whole = EMACallback(DECAY)
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    uninterrupted, _ = fit(saver, whole, net=new_net(Constant), max_epochs=2)
    half = EMACallback(DECAY)
    net, trainer = new_net(Constant), trainer_with(half, max_epochs=2)
    trainer.fit(net, loader(), loader(2), ckpt_path=tmp_path / "step=4.ckpt")
    assert half.updates == whole.updates == 12
    assert equal(snapshot(net), snapshot(uninterrupted))
    assert equal(half.ema_weights, whole.ema_weights)


class Constant(NoDropout):
    """Sees the same batch at every step, so that a restarted data loader makes no difference."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return super().training_step(torch.ones_like(batch).cumsum(0), batch_idx)


def test_a_changed_decay_is_used_and_warns(tmp_path: Path) -> None:
    first, recorder = EMACallback(DECAY), Recorder()  # D-FINE#331
    _, trainer = fit(recorder, first, net=new_net(NoDropout))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    later = Recorder()
    second = EMACallback(0.5, extra_decays=[DECAY])
    trainer = trainer_with(later, second, max_epochs=2)
    with pytest.warns(UserWarning, match=r"ema: decay 0.5 from here on; .* saved average of 0.9"):
        trainer.fit(new_net(NoDropout), loader(), loader(2), ckpt_path=tmp_path / "a.ckpt")
    expected = EMA(0.5)
    expected.register(first.ema_weights)
    for weights in later.weights[1:]:
        expected.update(weights)
    assert trainer.callback_metrics["ema/decay"] == 0.5
    assert close(second.ema_weights, expected.get_params())
    with second.weights(f"ema_{DECAY}"):
        assert trainer.lightning_module is not None
        continued = oracle(recorder.weights + later.weights[1:]).get_params()
        assert close(snapshot(trainer.lightning_module), continued)


@pytest.mark.parametrize("writer", ["no callback", "averages not saved"])
def test_resume_without_saved_averages_warns_and_restarts_from_the_raw_weights(
    tmp_path: Path, writer: str
) -> None:
    off = EMACallback(DECAY, save_ema_weights_in_callback_state=False)
    _, trainer = fit(None if writer == "no callback" else off, net=new_net(NoDropout))  # Latte#55
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    ema, recorder = EMACallback(DECAY), Recorder()
    again = trainer_with(recorder, ema, max_epochs=2)
    with pytest.warns(UserWarning, match="no averages in .*a.ckpt; they restart from its raw weights"):
        again.fit(new_net(NoDropout), loader(), loader(2), ckpt_path=tmp_path / "a.ckpt")
    assert ema.updates == 6
    assert close(ema.ema_weights, oracle(recorder.weights).get_params())


def test_resume_with_ema_switched_off_goes_on_with_the_raw_weights(tmp_path: Path) -> None:
    whole, _ = fit(None, net=new_net(NoDropout), max_epochs=2)  # stable-diffusion#271
    _, trainer = fit(EMACallback(DECAY), net=new_net(NoDropout))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    net, _ = resumed(tmp_path / "a.ckpt", None, max_epochs=2)
    assert equal(snapshot(net), snapshot(whole))


def test_a_layer_that_the_checkpoint_lacks_starts_from_its_raw_weights_and_warns(
    tmp_path: Path,
) -> None:
    class Wider(NoDropout):
        strict_loading = False

        def __init__(self) -> None:
            super().__init__()
            self.extra = nn.Linear(4, 4)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.first.parameters(), 0.1)

    old = EMACallback(DECAY)
    _, trainer = fit(old, net=new_net(NoDropout))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    ema, net = EMACallback(DECAY), new_net(Wider)
    again = trainer_with(ema)
    with pytest.warns(UserWarning, match="no saved average of extra.weight, extra.bias; .* raw weights"):
        again.validate(net, loader(1), ckpt_path=tmp_path / "a.ckpt", verbose=False)
    assert torch.equal(ema.ema_weights["extra.weight"], net.extra.weight)
    assert torch.equal(ema.ema_weights["first.weight"], old.ema_weights["first.weight"])


def test_averages_of_another_shape_are_refused_in_one_line(tmp_path: Path) -> None:
    _, trainer = fit(EMACallback(DECAY))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    checkpoint["callbacks"]["EMACallback"]["ema_weights"]["first.bias"] = torch.zeros(7)
    torch.save(checkpoint, tmp_path / "b.ckpt")
    with pytest.raises(
        ValueError, match=r"saved average of 'first.bias' has shape \(7,\), the model has \(4,\)"
    ):
        trainer_with(EMACallback(DECAY)).validate(
            Net(), loader(1), ckpt_path=tmp_path / "b.ckpt", verbose=False
        )


@pytest.mark.parametrize("kind", ["DepthDif", "NeMo", "Lightning"])
def test_a_run_of_another_ema_callback_is_resumed_with_its_averages(tmp_path: Path, kind: str) -> None:
    ema, recorder = EMACallback(DECAY), Recorder()
    _, trainer = fit(recorder, ema, net=new_net(NoDropout))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    average = checkpoint["callbacks"].pop("EMACallback")["ema_weights"]
    if kind == "Lightning":
        checkpoint["current_model_state"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = average
    else:
        weights = average if kind == "DepthDif" else [average[key] for key in checkpoint["state_dict"]]
        checkpoint["callbacks"]["EMA"] = {"cur_step": 6, "ema_weights": weights}
    torch.save(checkpoint, tmp_path / "b.ckpt")
    later, again = Recorder(), EMACallback(DECAY)
    second = trainer_with(later, again, max_epochs=2)
    second.fit(new_net(NoDropout), loader(), loader(2), ckpt_path=tmp_path / "b.ckpt")
    assert equal(later.weights[0], recorder.weights[-1])
    assert close(again.ema_weights, oracle(recorder.weights + later.weights[1:]).get_params())


class Former(NoDropout):
    """Writes the checkpoints that `Migrated` reads."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.05)


class Migrated(Former):
    """Calls the layer `first` now `entry`, and its bias has one dimension more."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Linear(4, 4)
        self.entry.weight = self.first.weight
        self.entry.bias = nn.Parameter(torch.zeros(1, 4))
        del self.first
        self.migrations = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.frozen(self.norm(x @ self.entry.weight.T + self.entry.bias)))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["state_dict"]
        state["entry.weight"] = state.pop("first.weight")
        state["entry.bias"] = state.pop("first.bias").unsqueeze_(0)
        self.migrations += 1


@pytest.mark.parametrize("verb", ["fit", "validate"])
def test_a_migration_of_the_state_dict_reaches_every_average(tmp_path: Path, verb: str) -> None:
    old = EMACallback(DECAY, extra_decays=[0.5])  # anemoi-core#1373
    former, trainer = fit(old, net=new_net(Former))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    ema, net = EMACallback(DECAY, extra_decays=[0.5]), new_net(Migrated)
    seen: list[dict[str, Tensor]] = []
    look = LambdaCallback(
        on_train_start=lambda *_: seen.append(snapshot(net) | {"ema": ema.ema_weights["entry.bias"]})
    )
    again = trainer_with(ema, look, max_epochs=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*no saved average.*")
        loaders = (loader(), loader(2)) if verb == "fit" else (loader(1),)
        getattr(again, verb)(net, *loaders, ckpt_path=tmp_path / "a.ckpt")
    if verb == "fit":
        assert torch.equal(seen[0]["entry.bias"], former.first.bias[None])
        assert torch.equal(seen[0]["ema"], old.ema_weights["first.bias"][None])
    else:
        assert torch.equal(net.entry.bias, former.first.bias[None])
        assert torch.equal(net.seen[-1]["entry.bias"], old.ema_weights["first.bias"][None])
        assert torch.equal(ema.ema_weights["entry.weight"], old.ema_weights["first.weight"])
        with ema.weights("ema_0.5"), old.weights("ema_0.5"):
            assert torch.equal(net.entry.weight, former.first.weight)
    # Once for each average, and last for the raw weights.
    assert net.migrations == 3


# Wrappers.


def test_averages_of_a_compiled_part_load_into_the_plain_module_and_back(tmp_path: Path) -> None:
    class Compiled(NoDropout):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.compile(self.first, backend="eager")  # type: ignore[assignment]

        def forward(self, x: Tensor) -> Tensor:
            return self.frozen(self.norm(self.first(x)))

    ema, recorder = EMACallback(DECAY), Recorder()  # senpai#2899
    net, trainer = fit(recorder, ema, net=new_net(Compiled))
    trainer.save_checkpoint(tmp_path / "compiled.ckpt")
    assert "first._orig_mod.weight" in net.state_dict()
    assert "first.weight" in ema.ema_weights
    plain = NoDropout()
    plain.load_state_dict(load_weights(tmp_path / "compiled.ckpt").state_dict)
    assert equal(snapshot(plain), ema.ema_weights)
    expected = oracle(recorder.weights).get_params()
    assert torch.allclose(plain.first.weight, expected["first._orig_mod.weight"], atol=1e-6)
    with averaged(net):
        x = torch.randn(3, 4)
        net.eval()
        assert torch.equal(net.first(x), plain.first(x))
    another = EMACallback(DECAY)
    compiled = new_net(Compiled)
    trainer_with(another).validate(compiled, loader(1), ckpt_path=tmp_path / "compiled.ckpt", verbose=False)
    assert equal(another.ema_weights, ema.ema_weights)
    assert torch.equal(compiled.seen[-1]["first._orig_mod.weight"], ema.ema_weights["first.weight"])


def test_a_callback_before_or_after_ours_makes_no_difference() -> None:
    seen: list[dict[str, Tensor]] = []
    for order in (0, 1):
        ema = EMACallback(DECAY)
        look = LambdaCallback(on_validation_epoch_end=lambda trainer, module: seen.append(snapshot(module)))
        fit(*([look, ema] if order else [ema, look]))
        assert equal(seen[-1], ema.ema_weights)
    assert equal(seen[0], seen[1])
