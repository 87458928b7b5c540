"""Synthetic run folders, whole and broken, with known truth."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from omegaconf import OmegaConf
from PIL import Image, ImageDraw

from depthdif.comparison.run import Run, read_run
from depthdif.scores.score_names import log_keys

STEPS = (150, 300, 450, 600)
MakeRun = Callable[..., Path]


def config(folder: Path, decay: float = 0.99, **changed: Any) -> dict[str, Any]:
    """A resolved config with the keys that matter; `changed` has dotted keys with `__` for the dots."""
    cfg = OmegaConf.create(
        {
            "data": {"path": "ocean.nc", "batch_size": 16, "num_workers": 0, "seed": 0},
            "model": {
                "denoiser": {"block_out_channels": [8, 16]},
                "sampler": {"steps": 10, "ensemble_size": 4},
                "first_guess": {"covariance": 1.43},
                "ema": {
                    "enabled": True,
                    "decay": decay,
                    "apply_every_n_steps": 1,
                    "start_step": 0,
                    "warmup": False,
                },
                "optimizer": {"lr": 0.001},
            },
            "trainer": {"max_steps": 600, "default_root_dir": str(folder)},
            "seed": 0,
            "resume": None,
            "output_dir": str(folder),
        }
    )
    for key, value in changed.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, merge=False)
    return OmegaConf.to_container(cfg)  # type: ignore[return-value]


def scores(prefix: str, mse: float) -> dict[str, float]:
    """The scores of one validation."""
    values = {"mse": mse, "crps": 0.5 * mse**0.5, "psnr": 40 - 5 * mse, "ssim": 1 / (1 + 0.1 * mse)}
    return log_keys(prefix, values)


def distances(name: str, decay: float, relative: float, largest: float) -> dict[str, float]:
    """The log of one average."""
    return {
        f"{name}/effective_decay": decay,
        f"{name}/weight_relative_rms_delta": relative,
        f"{name}/weight_rms_delta": 0.04 * relative,
        f"{name}/weight_mean_abs_delta": 0.03 * relative,
        f"{name}/weight_max_abs_delta": largest,
    }


def validations(
    decays: Mapping[str, float], standard: Sequence[float], ratios: Mapping[str, float], steps: Sequence[int]
) -> list[dict[str, float]]:
    """Lines of a metrics file as Lightning writes them: steps counted from 0, training and validation apart."""
    lines: list[dict[str, float]] = []
    for step, mse in zip(steps, standard, strict=True):
        lines.append({"step": step - 1, "epoch": 0, "train/loss": 0.1 * mse, "lr-AdamW": 1e-3})
        line = {"step": step - 1, "epoch": 0, "val/loss": 0.2 * mse}
        if decays:
            line |= scores("val_standard", mse) | scores("val", mse * ratios["ema"])
            for name, decay in decays.items():
                line |= scores(f"val_{name}", mse * ratios[name]) | distances(name, decay, 0.01, 0.001)
        else:
            line |= scores("val", mse)
        lines.append(line)
    return lines


def write_metrics(folder: Path, lines: Sequence[Mapping[str, float]]) -> Path:
    """As Lightning's CSVLogger does."""
    path = folder / "metrics" / "metrics.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for line in lines for key in line}))
        writer.writeheader()
        writer.writerows(lines)
    return path


def draw_panel(path: Path, words: str, size: tuple[int, int] = (320, 200)) -> None:
    """A small picture unlike that of other words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    drawing = ImageDraw.Draw(picture)
    drawing.text((10, 10), words, fill="red")
    # The browser test identifies pictures by it.
    drawing.rectangle((0, size[1] - 20, 10 + crc32(words.encode()) % (size[0] - 20), size[1]), fill="blue")
    picture.save(path)


def write_run(
    folder: Path,
    decay: float | None = 0.99,
    ratio: float = 0.9,
    extra: Mapping[float, float] | None = None,
    standard: Sequence[float] = (2.0, 1.6, 1.3, 1.2),
    steps: Sequence[int] = STEPS,
    finished: bool = True,
    panels: bool = True,
    first_guess: float | None = None,
    **changed: Any,
) -> Path:
    """A run folder: its main decay (None: no EMA), the MSE of its EMA over the standard one, `extra` decays with theirs.

    `first_guess` is the MSE of the first guess, None for a run without one.
    """
    extra = extra or {}
    cfg = config(folder, 0.9999 if decay is None else decay, **changed)
    cfg["model"]["ema"]["enabled"] = decay is not None
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(cfg), folder / "config.yaml")
    (folder / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(OmegaConf.create([f"model.ema.decay={decay}"]), folder / ".hydra" / "overrides.yaml")
    decays = {} if decay is None else {"ema": decay, **{f"ema_{d}": d for d in extra}}
    ratios = {"ema": ratio, **{f"ema_{d}": r for d, r in extra.items()}}
    lines = validations(decays, standard, ratios, steps)
    if first_guess is not None:
        lines = [
            line | scores("val_first_guess", first_guess) if "val/loss" in line else line for line in lines
        ]
    write_metrics(folder, lines)
    if panels:
        for step in steps:
            for variant in ("_standard", *(f"_{name}" for name in decays)) if decays else ("",):
                draw_panel(
                    folder / "panels" / f"x_y_full_reconstruction{variant}_step={step:07d}.png",
                    f"{folder.name}{variant} {step}",
                )
    if finished:
        (folder / "closing_table.txt").write_text("done\n")
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run folder of a name into `tmp_path`; arguments as in `write_run`."""

    def made(name: str = "run", **settings: Any) -> Path:
        return write_run(tmp_path / name, **settings)

    return made


@pytest.fixture
def read_made(make_run: MakeRun) -> Callable[..., Run]:
    """Writes a run and reads it back."""

    def made(name: str = "run", **settings: Any) -> Run:
        return read_run(make_run(name, **settings), name)

    return made


@pytest.fixture(scope="session")
def odd_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 20 runs, to be read only: a sweep over decays, and one of every kind of odd one."""
    folder = tmp_path_factory.mktemp("odd")

    def make_run(name: str, **settings: Any) -> Path:
        return write_run(folder / name, **settings)

    write = [
        lambda name: make_run(name, decay=0.9, ratio=0.97),
        lambda name: make_run(name, decay=0.99, ratio=0.85),
        lambda name: make_run(name, decay=0.999, ratio=0.95),
        lambda name: make_run(name, decay=0.9999, ratio=1.4),
        lambda name: make_run(name, decay=0.99, ratio=0.9, extra={0.9: 0.95, 0.999: 0.93}),
        lambda name: make_run(name, decay=None),
        lambda name: make_run(name, steps=(150, 300), standard=(2.0, 1.6), finished=False),
        lambda name: half_written(make_run(name, finished=False)),
        lambda name: without(make_run(name), "config.yaml"),
        lambda name: emptied(make_run(name) / "metrics" / "metrics.csv"),
        lambda name: without(make_run(name), "metrics/metrics.csv"),
        lambda name: make_run(name, panels=False),
        lambda name: corrupt_panel(make_run(name)),
        lambda name: make_run(name, model__denoiser__block_out_channels=[64, 128]),
        lambda name: make_run(name, data__path="other.nc", standard=(20.0, 16.0, 13.0, 12.0)),
        lambda name: make_run(name, model__first_guess=None),
        lambda name: make_run(name, standard=(2.0, float("nan"), 1.3, float("nan"))),
        lambda name: emptied(make_run(name) / "config.yaml", "a: [1,\n"),
        lambda name: make_run(name, data__path="<script>alert(1)</script>&\"'"),
        lambda name: make_run(name, steps=(100, 200, 350, 500)),
    ]
    for number, one in enumerate(write):
        one(f"sweep/{number}")
    return folder / "sweep"


def half_written(folder: Path) -> Path:
    """As if the last line were being written: cut within its last number."""
    path = folder / "metrics" / "metrics.csv"
    path.write_bytes(path.read_bytes().rstrip()[:-4])
    return folder


def without(folder: Path, name: str) -> Path:
    """The folder without one of its files."""
    (folder / name).unlink()
    return folder


def emptied(path: Path, content: str = "") -> Path:
    """The file with other content."""
    path.write_text(content)
    return path


def corrupt_panel(folder: Path) -> Path:
    """One panel cut short, one that is no picture."""
    first, second = sorted((folder / "panels").glob("*.png"))[:2]
    first.write_bytes(first.read_bytes()[:-200])
    second.write_text("no picture")
    return folder
