"""Averages out of the snapshots of a real run of the tiny denoiser, against averages that this run tracked itself."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from depthdif.checkpoints.trained_run import open_trained
from depthdif.ema import load_weights
from depthdif.ema.decay import PowerDecay, parse_decay
from depthdif.ema.posthoc import SnapshotAverages
from depthdif.ema.snapshots import MANIFEST
from depthdif.posthoc_ema.posthoc import posthoc
from depthdif.training import train

CONF = Path(__file__).resolve().parents[2] / "conf"
FURTHER = ("width_0.07", "0.9")
TRACKED = ("width_0.05", "width_0.1")
WANTED = PowerDecay(0.07)
SMALL = (
    "data=synthetic", "data.patch_size=16", "data.batch_size=4", "data.validation_patches=4",
    "model/denoiser=unet_tiny", "model/first_guess=none", "model.sampler.steps=2", "model.sampler.ensemble_size=1",
    "trainer.accelerator=cpu", "trainer.precision=bf16-mixed", "logger=csv", "callbacks.progress=null",
    "callbacks.reconstruction.panel_samples=1", "callbacks.reconstruction.panel_depths=[0]",
)  # fmt: skip


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


def with_manifest(folder: Path, change: Callable[[list[dict]], list[dict]]) -> None:  # type: ignore[type-arg]
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**content, "snapshots": change(content["snapshots"])}))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 100 steps that tracked three widths and a constant decay; its manifest names two of the widths."""
    folder = tmp_path_factory.mktemp("power") / "run"
    extra = ",".join(["width_0.1", *FURTHER])
    train(composed("train", *SMALL, "model/ema=power", f"model.ema.extra_decays=[{extra}]", f"output_dir={folder}",
                   "trainer.max_steps=100", "trainer.val_check_interval=100"))  # fmt: skip
    with_manifest(folder / "ema_snapshots", lambda rows: [{**row, "widths": list(TRACKED)} for row in rows])
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., DictConfig]:
    return lambda *overrides: composed("posthoc_ema", f"output_dir={tmp_path / 'out'}", *overrides)


def flat(state: dict[str, Tensor], keys: list[str]) -> Tensor:
    return torch.cat([state[key].double().flatten() for key in keys])


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Relative to the second, over the tensors of the first."""
    keys = list(one)
    return float((flat(one, keys) - flat(other, keys)).norm() / flat(other, keys).norm())


def tracked(run: Path, which: str) -> dict[str, Tensor]:
    return load_weights(run / "checkpoints/last.ckpt", which).state_dict


def test_a_width_that_was_not_in_the_snapshots_equals_the_average_tracked_in_training(run: Path) -> None:
    snapshots = SnapshotAverages(run / "ema_snapshots")
    assert len(snapshots.snapshots) == 10
    assert snapshots.tracked == (PowerDecay(0.05), PowerDecay(0.1))
    rebuilt = snapshots.rebuild(snapshots.close(WANTED))
    expected = tracked(run, "width_0.07")
    assert distance(rebuilt, expected) < 1e-4
    # The difference between the average and the weights is what counts: it must not drown.
    standard = tracked(run, "standard")
    apart = distance({key: standard[key] for key in rebuilt}, expected)
    assert distance(rebuilt, expected) < 0.05 * apart


def test_fewer_snapshots_give_a_coarser_average(copy: Path) -> None:
    expected = tracked(copy, "width_0.07")
    errors = []
    for every in (10, 20, 40):
        with_manifest(copy / "ema_snapshots", lambda rows, n=every: [r for r in rows if r["step"] % n == 0])  # type: ignore[misc]
        snapshots = SnapshotAverages(copy / "ema_snapshots")
        errors.append(distance(snapshots.rebuild(snapshots.closest(WANTED)), expected))
    assert errors == sorted(errors)
    assert errors[2] > 3 * errors[0]


@pytest.mark.parametrize("width", TRACKED)
def test_a_tracked_width_is_rebuilt_to_the_bit(run: Path, width: str) -> None:
    snapshots = SnapshotAverages(run / "ema_snapshots")
    rebuilt = snapshots.rebuild(snapshots.close(parse_decay(width)))
    expected = tracked(run, width)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in rebuilt.items())
    floating = {key for key, tensor in expected.items() if tensor.is_floating_point()}
    assert set(rebuilt) == floating


def test_a_constant_decay_is_rebuilt_with_its_fit_error(run: Path) -> None:
    snapshots = SnapshotAverages(run / "ema_snapshots")
    combination = snapshots.closest(0.9)
    assert 0 < combination.fit_error < 0.05
    # 0.9 ** 100 of the initial weights is nothing.
    assert distance(snapshots.rebuild(combination), tracked(run, "0.9")) < 1e-4


def test_float16_snapshots_are_as_coarse_as_float16(copy: Path) -> None:
    for file in (copy / "ema_snapshots").glob("*.safetensors"):
        save_file({key: tensor.half() for key, tensor in load_file(file).items()}, file)
    with_sizes(copy / "ema_snapshots")
    snapshots = SnapshotAverages(copy / "ema_snapshots")
    rebuilt = snapshots.rebuild(snapshots.close(WANTED))
    assert all(tensor.dtype == torch.float32 for tensor in rebuilt.values())
    assert 1e-5 < distance(rebuilt, tracked(copy, "width_0.07")) < 1e-3


def test_the_widths_are_scored_and_the_best_width_kept_as_a_checkpoint(
    run: Path,
    config: Callable[..., DictConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    returned = posthoc(config(f"run={run}", "widths=[0.02,0.07,0.15]"))
    out = tmp_path / "out"
    rows = {row["variant"]: row for row in csv.DictReader((out / "widths.csv").open(encoding="utf-8"))}
    # 0.02 is too narrow for ten snapshots.
    assert list(rows) == ["standard", "width 0.05", "width 0.07", "width 0.1", "width 0.15"]
    printed = capsys.readouterr().out
    assert "width 0.02 is left out" in printed
    averages = {name: float(row["mse"]) for name, row in rows.items() if name != "standard"}
    best = min(averages, key=lambda name: averages[name])
    assert returned == averages[best]
    checkpoint = out / f"{best.replace(' ', '_')}.ckpt"
    assert f"python scripts/evaluate.py checkpoint={checkpoint}" in printed
    assert (out / "widths.png").stat().st_size > 10_000
    # Scores are those of the validation in training.
    logged = [row for row in csv.DictReader((run / "metrics/metrics.csv").open()) if row["val/loss"]][-1]
    for name, prefix in (
        ("standard", "val_standard"),
        ("width 0.05", "val_ema"),
        ("width 0.1", "val_ema_width_0.1"),
    ):
        for score in ("mse", "psnr", "ssim"):
            assert float(rows[name][score]) == pytest.approx(
                float(logged[f"{prefix}/recon_{score}_full_recon"]), rel=1e-4
            )
    assert float(rows["width 0.05"]["loss"]) == pytest.approx(float(logged["val/loss"]), rel=1e-4)


def test_the_checkpoint_that_is_written_opens_like_that_of_a_run(
    run: Path, config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    posthoc(config(f"run={run}", "widths=[]", "width=0.07"))
    path = tmp_path / "out/width_0.07.ckpt"
    state, which = load_weights(path)
    assert which == "ema"
    expected = tracked(run, "width_0.07")
    assert distance({key: t for key, t in state.items() if t.is_floating_point()}, expected) < 1e-4
    assert set(state) == set(expected)
    standard, written = tracked(run, "standard"), load_weights(path, "standard").state_dict
    assert all(torch.equal(tensor, standard[key]) for key, tensor in written.items())
    assert load_weights(path, "width_0.07").which == "ema"
    opened = open_trained(composed("train", *SMALL, f"+checkpoint='{path}'"))
    assert opened.load() == "ema"
    assert opened.module.reconstruct(next(iter(opened.data.val_dataloader()))).isfinite().all()
    assert path.stat().st_size < (run / "checkpoints/last.ckpt").stat().st_size / 2


def test_averages_of_an_earlier_checkpoint_use_the_snapshots_until_then(
    copy: Path, config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    content = torch.load(copy / "checkpoints/last.ckpt", weights_only=True)
    torch.save({**content, "global_step": 85}, copy / "checkpoints/early.ckpt")
    posthoc(config(f"checkpoint='{copy}/checkpoints/early.ckpt'", "widths=[]", "width=0.05"))
    stored = load_file(copy / "ema_snapshots/step-00000080.safetensors")
    state = load_weights(tmp_path / "out/width_0.05.ckpt").state_dict
    assert all(
        torch.equal(t, state[k.split("/", 1)[1]]) for k, t in stored.items() if k.startswith("width_0.05/")
    )
    with pytest.raises(ValueError, match="first snapshot was taken at step 10, and the checkpoint at step 5"):
        SnapshotAverages(copy / "ema_snapshots", until=5)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), r"run=None and checkpoint=None: expected one of them"),
        (("run=x", "checkpoint=y"), r"run=x and checkpoint=y: expected one of them"),
        (("run=nowhere",), r"run=nowhere: no such folder; set run=runs/DATE_TIME"),
        (
            ("run=x", "width=0.5"),
            r"width=0\.5: expected a relative width above 0 and at most 0\.2887; set width=0\.07",
        ),
        (("run=x", "width=wide"), r"width=wide: expected"),
        (("run=x", "widths=[0.05,0]"), r"widths=0: expected .*; set widths="),
        (("run=x", "decay=1"), r"decay=1: expected a number with 0 < decay < 1; set decay=0\.999"),
        (("run=x", "decay=0.9", "width=0.1"), r"width=0\.1 and decay=0\.9: expected one"),
        (("run=x", "batches=0"), r"batches=0: expected an integer >= 1"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_set(
    config: Callable[..., DictConfig], overrides: tuple[str, ...], words: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
        posthoc(config(*overrides))
    assert "\n" not in str(error.value)


def refused(folder: Path, decay: float | PowerDecay = WANTED) -> str:
    """What is said of snapshots that cannot serve."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        SnapshotAverages(folder).close(decay)
    assert "\n" not in str(error.value)
    return str(error.value)


def with_sizes(folder: Path) -> None:
    with_manifest(folder, lambda rows: [{**r, "bytes": (folder / r["file"]).stat().st_size} for r in rows])


def test_snapshots_that_cannot_serve_are_one_clear_error_each(copy: Path) -> None:
    folder = copy / "ema_snapshots"
    last, manifest = folder / "step-00000100.safetensors", (folder / MANIFEST).read_text()
    whole = last.read_bytes()
    last.write_bytes(whole[:1000])
    assert "truncated" in refused(folder)
    last.write_bytes(whole)

    with_manifest(folder, lambda rows: rows[-1:])
    assert "width 0.07: 1 snapshots are too few" in refused(folder)
    assert "decay 0.97: 1 snapshots are too few" in refused(folder, 0.97)
    with_manifest(folder, lambda rows: [{**row, "widths": [*TRACKED, "width_0.1"]} for row in rows])
    assert "too much alike" in refused(folder)
    (folder / MANIFEST).write_text(manifest)

    tensors = load_file(last)
    key = next(name for name, t in tensors.items() if name.startswith("width_0.05/") and t.ndim > 1)
    save_file({name: tensor.flatten() if name == key else tensor for name, tensor in tensors.items()}, last)
    with_sizes(folder)
    assert "averages are of two architectures" in refused(folder)
    save_file({name: t for name, t in tensors.items() if not name.endswith(key.partition("/")[2])}, last)
    with_sizes(folder)
    assert "are of two architectures, they differ in" in refused(folder)

    shutil.rmtree(folder)
    assert "no snapshots of power-function averages; train with model/ema=power first" in refused(folder)


def test_snapshots_of_another_model_than_the_checkpoint_are_refused(
    copy: Path, config: Callable[..., DictConfig]
) -> None:
    folder = copy / "ema_snapshots"
    for file in folder.glob("*.safetensors"):
        save_file({f"{name}.other": tensor for name, tensor in load_file(file).items()}, file)
    with_sizes(folder)
    with pytest.raises(ValueError, match=r"another architecture than .*; set a checkpoint of the run"):
        posthoc(config(f"run='{copy}'", "width=0.07"))


def test_the_error_about_a_run_without_snapshots_says_how_to_take_them(
    copy: Path, config: Callable[..., DictConfig]
) -> None:
    content = torch.load(copy / "checkpoints/last.ckpt", weights_only=True)
    assert content["callbacks"].pop("EMASnapshots") == {
        "folder": content["hyper_parameters"]["output_dir"] + "/ema_snapshots"
    }
    torch.save(content, copy / "checkpoints/last.ckpt")
    shutil.rmtree(copy / "ema_snapshots")
    with pytest.raises(FileNotFoundError, match=r"no snapshots.*train with model/ema=power first"):
        posthoc(config(f"run='{copy}'"))
