"""The main job, end to end: what a user gets of it is read back from what it leaves on disk."""

from __future__ import annotations

import csv
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer

from depthdif import UserError
from depthdif.diffusion.sampler import ReverseSampler
from depthdif.training import train

SmallRun = Callable[..., DictConfig]

SCORES = ("mse", "psnr", "ssim")
ALWAYS = {"val/loss", *(f"val/recon_{score}_full_recon" for score in SCORES)}
IMAGE = "val_imgs/x_y_full_reconstruction"
EMA_KEYS = {
    *(f"val_{weights}/recon_{score}_full_recon" for weights in ("standard", "ema") for score in SCORES),
    "ema/decay",
    "ema/effective_decay",
    "ema/weight_mean_abs_delta",
    "ema/weight_rms_delta",
    "ema/weight_relative_rms_delta",
    "ema/weight_max_abs_delta",
    "ema/tracked_floating_tensors",
    "ema/skipped_updates",
    f"{IMAGE}_standard",
    f"{IMAGE}_ema",
}
OF_TRAINING = {
    *(f"train/{name}" for name in ("loss", "gradient_norm", "clipped_share", "data_wait_share")),
    *("train/samples_per_second", "train/memory_gb", "lr-AdamW", "epoch", "trainer/global_step"),
}

EMA = ("model.ema.enabled=true", "model.ema.decay=0.9")
TWO_VARIABLES = (
    "data.field.salinity=true", "data.field.depths=4", "data.profiles.variable_fraction=[1,0.6]",
    "model/first_guess=oi",
)  # fmt: skip


def history(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of logged values."""
    return [record["history"]["item"] for record in records if record.get("type") == "history"]


def checkpoint(folder: Path, name: str = "last.ckpt") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def assert_equal_states(first: Any, second: Any, place: str = "") -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys(), place
        for key in first:
            assert_equal_states(first[key], second[key], f"{place}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), place
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_equal_states(one, other, f"{place}.{number}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), place
    else:
        assert first == second or (first != first and second != second), place


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [(EMA, ALWAYS | EMA_KEYS), ((), ALWAYS | {IMAGE})],
    ids=["with_ema", "without_ema"],
)
def test_a_short_run_logs_exactly_the_keys_of_the_contract_to_wandb(
    small_run: SmallRun,
    tmp_path: Path,
    wandb_records: Callable[[Path], list[dict[str, Any]]],
    overrides: tuple[str, ...],
    expected: set[str],
) -> None:
    train(small_run("trainer.max_steps=4", "trainer.log_every_n_steps=1", *overrides))
    rows = history(wandb_records(tmp_path / "run"))
    # A picture is several values, such as KEY.width.
    keys = {key.partition(".")[0] for row in rows for key in row if not key.startswith("_")}
    assert keys == expected | OF_TRAINING
    steps = {row["trainer/global_step"] for row in rows if any(key.startswith("val") for key in row)}
    assert steps == {3}  # Scores and panels of a validation stand at the same step.


def test_the_run_folder_keeps_scalars_panels_config_checkpoints_and_the_closing_table(
    small_run: SmallRun, tmp_path: Path
) -> None:
    value = train(small_run("trainer.max_steps=3", *EMA))
    run = tmp_path / "run"
    rows = list(csv.DictReader((run / "metrics" / "metrics.csv").open()))
    logged = [float(row["val/recon_mse_full_recon"]) for row in rows if row.get("val/recon_mse_full_recon")]
    assert logged == pytest.approx([value])
    assert sorted(path.name for path in (run / "panels").iterdir()) == [
        "x_y_full_reconstruction_ema_step=0000003.png",
        "x_y_full_reconstruction_standard_step=0000003.png",
    ]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["last.ckpt", "step-3.ckpt"]
    assert (run / "config.yaml").read_text().count("decay: 0.9")
    table = (run / "closing_table.txt").read_text()
    for word in (
        "standard",
        "EMA",
        "MSE",
        "PSNR",
        "SSIM",
        "steps/s",
        "wandb sync",
        "last.ckpt",
        "ema/weight_relative_rms_delta",
    ):
        assert word in table


def test_val_follows_the_weights_that_validation_is_configured_to_use(
    small_run: SmallRun, tmp_path: Path
) -> None:
    for name, evaluate_ema, followed in (("ema", "true", "val_ema"), ("standard", "false", "val_standard")):
        train(small_run("trainer.max_steps=3", *EMA, f"model.ema.evaluate_ema_weights_instead={evaluate_ema}",
                        "logger=csv", name=name))  # fmt: skip
        row = list(csv.DictReader((tmp_path / name / "metrics" / "metrics.csv").open()))[-1]
        assert row["val/recon_mse_full_recon"] == row[f"{followed}/recon_mse_full_recon"]
        assert row["val_standard/recon_mse_full_recon"] != row["val_ema/recon_mse_full_recon"]


@pytest.mark.parametrize("first_guess", ["idw", "oi"])
def test_with_a_first_guess_the_residual_is_diffused_and_the_table_says_what_to_beat(
    small_run: SmallRun, tmp_path: Path, first_guess: str
) -> None:
    value = train(small_run("trainer.max_steps=2", "logger=csv", f"model/first_guess={first_guess}", *EMA))
    without = train(small_run("trainer.max_steps=2", "logger=csv", name="without"))
    assert value < 0.2 * without  # A model that has learnt nothing yet gives the first guess back.
    assert "first guess" in (tmp_path / "run" / "closing_table.txt").read_text()
    residual_std = checkpoint(tmp_path / "run")["OceanDataModule"]["residual"]["std"]
    assert all(0 < std < 1 for std in residual_std)


def test_training_is_bit_for_bit_the_same_with_ema_on_and_off(small_run: SmallRun, tmp_path: Path) -> None:
    schedule = (
        "trainer.max_steps=4",
        "trainer.val_check_interval=2",
        "model.denoiser.dropout=0.1",
        "logger=csv",
    )
    train(small_run(*schedule, *EMA, name="on"))
    train(small_run(*schedule, name="off"))
    on, off = checkpoint(tmp_path / "on"), checkpoint(tmp_path / "off")
    assert_equal_states(on["state_dict"], off["state_dict"])
    assert_equal_states(on["optimizer_states"], off["optimizer_states"])


@pytest.mark.parametrize(
    ("stopped_at", "steps", "first_guess"),
    [(3, 8, "none"), (16, 20, "none"), (3, 8, "oi")],
    ids=["within_an_epoch", "at_the_end_of_an_epoch", "with_a_first_guess"],
)
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    small_run: SmallRun, tmp_path: Path, stopped_at: int, steps: int, first_guess: str
) -> None:
    # 16 batches make an epoch of the synthetic data.
    common = (
        f"trainer.max_steps={steps}",
        f"trainer.val_check_interval={steps // 2 + 1}",
        "model.denoiser.dropout=0.1",
        f"model/first_guess={first_guess}",
        "logger=csv",
        *EMA,
    )
    periodic = ("+callbacks.periodic._target_=pytorch_lightning.callbacks.ModelCheckpoint", "+callbacks.periodic.save_top_k=-1",
                f"+callbacks.periodic.dirpath={tmp_path}", f"+callbacks.periodic.every_n_train_steps={stopped_at}")  # fmt: skip
    train(small_run(*common, *periodic, name="whole"))
    saved = tmp_path / f"epoch=0-step={stopped_at}.ckpt"
    value = train(small_run(*common, f"resume='{saved}'", name="resumed"))
    whole, resumed = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "resumed")
    assert resumed["global_step"] == whole["global_step"] == steps
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_equal_states(resumed[part], whole[part], part)
    assert_equal_states(ema_weights(resumed), ema_weights(whole))
    assert not math.isnan(value)


@pytest.mark.parametrize("stopped_at", [8, 10], ids=["within_a_window", "at_its_end"])
def test_a_run_resumed_while_gradients_accumulate_equals_the_uninterrupted_one_bit_for_bit(
    small_run: SmallRun, tmp_path: Path, stopped_at: int
) -> None:
    # An epoch has 16 batches: windows of five, and a last one of a single batch.
    common = ("trainer.max_steps=6", "trainer.val_check_interval=16", "trainer.accumulate_grad_batches=5",
              "model.denoiser.dropout=0.1", "logger=csv", *EMA)  # fmt: skip
    train(small_run(*common, name="whole"))
    cfg = small_run(*common, *terminated(stopped_at), name="stopped")
    assert exit_code(lambda: train(cfg)) == 143
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    pending = checkpoint(tmp_path / "stopped")["callbacks"].get("PendingGradients", {})
    assert bool(pending) == (stopped_at == 8)
    train(small_run(*common, f"resume='{last}'", name="resumed"))
    whole, resumed = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "resumed")
    assert resumed["global_step"] == whole["global_step"] == 6
    assert "PendingGradients" not in whole["callbacks"]
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_equal_states(resumed[part], whole[part], part)
    assert_equal_states(ema_weights(resumed), ema_weights(whole))


class Terminate(Callback):
    """Sends SIGTERM to its own process, as a scheduler does, after some batches of the run."""

    def __init__(self, after_batch: int) -> None:
        self.after_batch = after_batch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == self.after_batch:
            os.kill(os.getpid(), signal.SIGTERM)


def terminated(after_batch: int) -> tuple[str, str]:
    """Overrides of a run that gets SIGTERM."""
    return f"+callbacks.end._target_={__name__}.Terminate", f"+callbacks.end.after_batch={after_batch}"


def exit_code(run: Callable[[], Any]) -> int | str | None:
    """With which code `run` ends the process."""
    with pytest.raises(SystemExit) as ended:
        run()
    return ended.value.code


def test_a_run_that_sigterm_ends_saves_its_checkpoint_exits_with_143_and_is_failed_in_wandb(
    small_run: SmallRun, tmp_path: Path, wandb_records: Callable[[Path], list[dict[str, Any]]]
) -> None:
    cfg = small_run("trainer.max_steps=6", *EMA, *terminated(3))
    assert exit_code(lambda: train(cfg)) == 143
    assert checkpoint(tmp_path / "run")["global_step"] == 3
    assert wandb_exit_code(wandb_records(tmp_path / "run")) == 1


def wandb_exit_code(records: list[dict[str, Any]]) -> int:
    """The code that a W&B run ended with; nothing is written for 0."""
    (end,) = [record["exit"] for record in records if record.get("type") == "exit"]
    return int(end.get("exit_code", 0))


def test_a_failed_run_is_failed_in_wandb_and_a_whole_one_is_finished(
    small_run: SmallRun, tmp_path: Path, wandb_records: Callable[[Path], list[dict[str, Any]]]
) -> None:
    train(small_run("trainer.max_steps=1", name="whole"))
    with pytest.raises(ZeroDivisionError):
        train(small_run("trainer.max_steps=4", f"+callbacks.fail._target_={__name__}.Fail", name="failed"))
    assert wandb_exit_code(wandb_records(tmp_path / "whole")) == 0
    assert wandb_exit_code(wandb_records(tmp_path / "failed")) == 1


class Fail(Callback):
    """Fails at the first batch."""

    def on_train_batch_end(self, *_: Any) -> None:
        raise ZeroDivisionError


def test_a_checkpoint_that_cannot_be_written_ends_the_training(
    small_run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Trainer, "save_checkpoint", no_space)
    with pytest.raises(OSError, match="No space left"):
        train(small_run("trainer.max_steps=4", "trainer.val_check_interval=2", "logger=csv"))


class WorkerStart(Callback):
    """What each worker of the training loader calls when it starts."""

    called: ClassVar[list[Any]] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.called.append(trainer.train_dataloader.worker_init_fn)  # type: ignore[union-attr]


def test_workers_do_not_import_lightning_for_a_seed_that_no_sample_uses(small_run: SmallRun) -> None:
    train(small_run("trainer.max_steps=1", "logger=csv", f"+callbacks.start._target_={__name__}.WorkerStart"))
    assert WorkerStart.called == [None]


def ema_state(saved: dict[str, Any]) -> dict[str, Any]:
    (state,) = [state for name, state in saved["callbacks"].items() if "EMACallback" in name]
    return state


def ema_weights(saved: dict[str, Any]) -> dict[str, torch.Tensor]:
    return ema_state(saved)["ema_weights"]


def test_both_panels_start_from_the_same_noise(small_run: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    original = ReverseSampler.initial_noise

    def remember(like: torch.Tensor, generators: list[torch.Generator]) -> torch.Tensor:
        seen.append(original(like, generators))
        return seen[-1]

    monkeypatch.setattr(ReverseSampler, "initial_noise", staticmethod(remember))
    train(small_run("trainer.max_steps=4", "trainer.val_check_interval=2", "logger=csv", *EMA))
    assert len(seen) == 4  # Two validations, two variants.
    assert all(torch.equal(seen[0], noise) for noise in seen)


def test_with_decay_zero_standard_and_ema_reconstruct_the_same_bit_for_bit(
    small_run: SmallRun, tmp_path: Path
) -> None:
    train(small_run("trainer.max_steps=3", "model.ema.enabled=true", "model.ema.decay=0", "logger=csv"))
    row = list(csv.DictReader((tmp_path / "run" / "metrics" / "metrics.csv").open()))[-1]
    for score in SCORES:
        assert row[f"val_standard/recon_{score}_full_recon"] == row[f"val_ema/recon_{score}_full_recon"]
    assert float(row["ema/weight_max_abs_delta"]) == 0


def test_a_checkpoint_holds_raw_weights_averages_statistics_and_config_without_code(
    small_run: SmallRun, tmp_path: Path
) -> None:
    train(small_run("trainer.max_steps=2", "logger=csv", *EMA))
    saved = checkpoint(tmp_path / "run")
    assert ema_weights(saved).keys() <= saved["state_dict"].keys()
    assert saved["hyper_parameters"]["model"]["ema"]["decay"] == 0.9
    assert len(saved["OceanDataModule"]["standardization"]["mean"]) == len(saved["OceanDataModule"]["depths"])


def test_extra_decays_get_panels_and_scores_of_their_own(small_run: SmallRun, tmp_path: Path) -> None:
    train(small_run("trainer.max_steps=3", "logger=csv", "model.ema.extra_decays=[0.5,0.99]", *EMA))
    row = list(csv.DictReader((tmp_path / "run" / "metrics" / "metrics.csv").open()))[-1]
    for name in ("ema", "ema_0.5", "ema_0.99"):
        assert all(float(row[f"val_{name}/recon_{score}_full_recon"]) for score in SCORES)
        assert float(row[f"{name}/weight_rms_delta"]) > 0
        assert (tmp_path / "run" / "panels" / f"x_y_full_reconstruction_{name}_step=0000003.png").is_file()
    assert "EMA 0.99" in (tmp_path / "run" / "closing_table.txt").read_text()


def test_a_sweep_of_decays_in_one_run_equals_the_runs_of_a_sweep_bit_for_bit(
    small_run: SmallRun, tmp_path: Path
) -> None:
    common = ("trainer.max_steps=6", "logger=csv", "model.ema.enabled=true")
    train(small_run(*common, "model.ema.decay=0.9", "model.ema.extra_decays=[0.5]", name="one_run"))
    train(small_run(*common, "model.ema.decay=0.5", name="of_a_sweep"))
    one_run, of_a_sweep = (checkpoint(tmp_path / name) for name in ("one_run", "of_a_sweep"))
    assert_equal_states(one_run["state_dict"], of_a_sweep["state_dict"])
    extra = ema_state(one_run)["extra_ema_weights"]["ema_0.5"]
    assert_equal_states(extra, ema_weights(of_a_sweep))


def test_gradient_accumulation_counts_optimizer_steps(small_run: SmallRun, tmp_path: Path) -> None:
    train(small_run("trainer.max_steps=3", "trainer.accumulate_grad_batches=2", "logger=csv", *EMA))
    assert checkpoint(tmp_path / "run")["global_step"] == 3


def test_more_panel_samples_than_the_validation_batch_holds_is_an_error_before_training(
    small_run: SmallRun,
) -> None:
    with pytest.raises(ValueError, match=r"panel_samples is 5.*panel_samples=4"):
        train(small_run("callbacks.reconstruction.panel_samples=5"))


def test_the_last_checkpoint_is_of_the_last_step_also_when_an_earlier_one_was_better(
    small_run: SmallRun, tmp_path: Path
) -> None:
    # With a learning rate this high nothing gets better.
    train(
        small_run("trainer.max_steps=4", "trainer.val_check_interval=1", "model.optimizer.lr=3", "logger=csv")
    )
    folder = tmp_path / "run" / "checkpoints"
    (best,) = folder.glob("step-*.ckpt")
    assert checkpoint(tmp_path / "run")["global_step"] == 4
    assert torch.load(best, weights_only=True)["global_step"] < 4
    assert "step-" in (tmp_path / "run" / "closing_table.txt").read_text()


def test_two_variables_are_logged_together_and_each_in_its_units_with_a_panel_and_a_table_of_its_own(
    small_run: SmallRun, tmp_path: Path, wandb_records: Callable[[Path], list[dict[str, Any]]]
) -> None:
    value = train(small_run("trainer.max_steps=2", *TWO_VARIABLES, *EMA))
    logged = {key: value for row in history(wandb_records(tmp_path / "run")) for key, value in row.items()}
    keys = {key.partition(".")[0] for key in logged}
    for key in (ALWAYS - {"val/loss"}) | {key for key in EMA_KEYS if key.startswith("val")}:
        assert key in keys
        # A picture of the first variable has the plain key.
        assert (f"{key}/temperature" in keys) != key.startswith("val_imgs")
        assert f"{key}/salinity" in keys
    state = checkpoint(tmp_path / "run")["OceanDataModule"]
    std = state["standardization"]["std"].reshape(2, -1).square().mean(1)
    parts = [logged[f"val/recon_mse_full_recon/{name}"] for name in ("temperature", "salinity")]
    assert value == pytest.approx(parts[0] / float(std[0]) + parts[1] / float(std[1]), rel=1e-4)
    assert [(each["name"], each["units"]) for each in state["variables"]] == [
        ("temperature", "degree_Celsius"),
        ("salinity", "1"),
    ]
    assert len(list((tmp_path / "run" / "panels").glob("salinity/x_y_full_reconstruction_*_step=*.png"))) == 2
    table = (tmp_path / "run" / "closing_table.txt").read_text()
    for words in ("all variables", "over the ocean: temperature", "over the ocean: salinity"):
        assert words in table


def test_training_of_two_variables_resumes_exactly(small_run: SmallRun, tmp_path: Path) -> None:
    options = (*TWO_VARIABLES, "logger=csv", *EMA)
    train(small_run("trainer.max_steps=4", *options, name="whole"))
    train(small_run("trainer.max_steps=2", *options, name="first"))
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    train(small_run("trainer.max_steps=4", *options, f"resume='{last}'", name="second"))
    whole, resumed = (checkpoint(tmp_path / name)["state_dict"] for name in ("whole", "second"))
    assert_equal_states(whole, resumed)


def test_a_checkpoint_of_one_variable_is_closed_to_the_data_of_two(
    small_run: SmallRun, tmp_path: Path
) -> None:
    train(small_run("trainer.max_steps=1", "logger=csv"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(
        UserError, match=r"trained on variable temperature, the data have \[temperature,salinity\]"
    ):
        train(
            small_run(
                "trainer.max_steps=2",
                "logger=csv",
                "data.field.salinity=true",
                f"resume='{last}'",
                name="joint",
            )
        )
