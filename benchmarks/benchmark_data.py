"""Time of what prepares a batch beside that of a training step, on the CPU and on CUDA.

    python benchmarks/benchmark_data.py

One table for the default training (data=eddies), of which the ratio is the share of a training step, and one for a patch of
128 x 128 x 50 with about 580 profiles. The textbook is optimal interpolation with one NumPy solve for each level of each patch,
without regressions. All rows take turns in every round, so that a slow moment of the machine meets all of them alike; the
tables show medians over the rounds. On CUDA the waits for the device within a first guess are counted.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from hydra.utils import instantiate
from in_turns import Action, measure
from omegaconf import DictConfig

from depthdif import EARTH_RADIUS
from depthdif.build import build_data, build_module
from depthdif.config_folder import composed
from depthdif.data.datamodule import OceanDataModule
from depthdif.data.dataset import Batch, Sample, collate, with_first_guess
from depthdif.data.patches import Box
from depthdif.data.profiles import ProfileSampler
from depthdif.data.synthetic import synthetic_field
from depthdif.diffusion.module import TRAINING, DiffusionModule
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData

ROUNDS = 7


def default_training(cfg: DictConfig, device: torch.device) -> dict[str, Action]:
    """A training step, and the parts of preparing its batch, by name."""
    data = build_data(cfg)
    module = build_module(cfg, data).to(device)
    first_guess = data.collate.keywords["first_guess"]
    dataset = data.train_dataloader().dataset
    draws = range(data.batch_size)
    samples = [dataset[draw] for draw in draws]
    batch = collate(samples)
    ready = {name: part.to(device) for name, part in data.collate(samples).items()}
    generators = [np.random.default_rng(draw) for draw in draws]
    patches = [dataset.patches.draw(generator) for generator in generators]
    targets = [dataset.cutter.read(patch)[0] for patch in patches]
    plain = OptimalInterpolation(**{**vars(first_guess), "regressions": False, "background": "mean_profile"})
    return {
        "training step": training_step(module, ready),
        "reading": lambda: [dataset.cutter.read(patch) for patch in patches],
        "profiles": lambda: [
            dataset.profiles.observe(target, generator)
            for target, generator in zip(targets, generators, strict=True)
        ],
        "samples: reading, profiles, climatology": lambda: [dataset[draw] for draw in draws],
        "batch of samples": lambda: collate(samples),
        "first guess": lambda: guess(first_guess, batch, device),
        "first guess, textbook": lambda: [textbook(plain, sample) for sample in samples],
    }


def training_step(module: DiffusionModule, batch: Batch) -> Action:
    """Loss, gradient and step of the optimizer of a module."""
    optimizer = module.optimizer(module.parameters())

    def step() -> None:
        optimizer.zero_grad()
        with torch.enable_grad():
            errors, weights = module.errors(batch, TRAINING)
            (errors.sum() / weights.sum()).backward()
        optimizer.step()

    return step


def large_patch(first_guess: OptimalInterpolation, device: torch.device) -> tuple[int, dict[str, Action]]:
    """Number of profiles of a patch of 128 x 128 x 50; reading it and its first guess, by name."""
    field = synthetic_field(times=1, depths=50, height=130, width=300, max_depth=5700.0, eddies=300)
    data = OceanDataModule(
        field,
        validation=Box(longitude=(-180, -20)),
        profiles=ProfileSampler(density=800 / 128**2),
        patch_size=128,
        min_ocean_fraction=0.5,
        validation_patches=1,
        statistics_times=1,
    )
    data.setup()
    dataset = data.train_dataloader().dataset
    batch = collate([dataset[0]])
    profiles = int(batch["observed_mask"].any(dim=1).sum())
    patch = dataset.patches.draw(np.random.default_rng(0))
    return profiles, {
        "reading": lambda: dataset.cutter.read(patch),
        "sample: reading, profiles": lambda: dataset[0],
        "first guess": lambda: guess(first_guess, batch, device),
    }


def guess(first_guess: FirstGuess, batch: Batch, device: torch.device) -> Batch:
    """A batch on its device with its first guess, as training makes it."""
    patches = PatchData.from_batch(batch)
    there = {name: part.to(device, non_blocking=True) for name, part in batch.items()}
    return with_first_guess(there, patches.in_batch(there), first_guess)


def textbook(first_guess: OptimalInterpolation, sample: Sample) -> np.ndarray:
    """Estimate and error variance (2, D, H, W) of one patch of a surface without gaps, with a solve for each level."""
    degrees = (sample[name].astype(np.float64) for name in ("latitude", "longitude"))
    latitude, longitude = (np.radians(axis.ravel()) for axis in np.meshgrid(*degrees, indexing="ij"))
    fields = sample["surface"].reshape(len(sample["surface"]), latitude.size).astype(np.float64)
    scales, variances = (
        np.broadcast_to(np.array(setting, np.float64), len(fields))
        for setting in (first_guess.surface_scale, first_guess.trend_variance)
    )

    def covariance(rows: Sequence[int] | np.ndarray, columns: np.ndarray) -> np.ndarray:
        one, other = (np.cos(latitude[index]) for index in (rows, columns))
        mean_square = (one[:, None] ** -2 + other**-2) / 2
        chord = 2 * EARTH_RADIUS * np.sin((longitude[rows][:, None] - longitude[columns]) / 2)
        squared = chord**2 / mean_square / first_guess.longitude_scale**2
        squared += (
            EARTH_RADIUS * (latitude[rows][:, None] - latitude[columns]) / first_guess.latitude_scale
        ) ** 2
        for field, scale in zip(fields, scales, strict=True):
            squared += ((field[rows][:, None] - field[columns]) / scale) ** 2
        correlation = np.exp(-(squared ** (first_guess.covariance / 2))) / (
            one[:, None] * other * mean_square
        )
        return correlation + first_guess.mean_variance + (fields[:, rows].T * variances) @ fields[:, columns]

    result = np.zeros((2, *sample["observations"].shape))
    everywhere = np.arange(latitude.size)
    prior = 1 + first_guess.mean_variance + variances @ fields**2
    for level, (values, mask) in enumerate(zip(sample["observations"], sample["observed_mask"], strict=True)):
        seen = np.flatnonzero(mask)
        data, towards = values.ravel()[seen].astype(np.float64), covariance(seen, everywhere)
        matrix = covariance(seen, seen) + (first_guess.nugget + 1e-9) * np.eye(len(seen))
        weights = np.linalg.solve(matrix, towards)
        trust = len(seen) / (len(seen) + first_guess.prior_profiles)
        squares = data @ np.linalg.solve(matrix, data) / max(len(seen), 1)
        scale = (1 - trust) * first_guess.variance + trust * squares
        result[0, level] = (data @ weights).reshape(mask.shape)
        result[1, level] = scale * (prior - (weights * towards).sum(axis=0)).reshape(mask.shape)
    return result


def waits(action: Action) -> int:
    """How often one call waits for the GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        action()
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def print_table(title: str, candidates: dict[str, Action], device: torch.device) -> None:
    """A Markdown table: milliseconds and ratio to the first row, and on CUDA how often the first guess waits."""
    print(f"\n| {title} | ms | ratio |")
    print("| --- | ---: | ---: |")
    for name, (time_taken, ratio) in measure(candidates, device, ROUNDS).items():
        print(f"| {name} | {time_taken:.2f} | {ratio:.3f} |")
    if device.type == "cuda":
        print(f"\nThe first guess waits {waits(candidates['first guess'])} times for the GPU.")


def main() -> None:
    """Print the tables of every device of the machine."""
    cfg = composed("train", ["data=eddies", "output_dir=."])
    oi = composed("train", ["data=woa", "output_dir=."]).model.first_guess
    for device in (torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])):
        what = (
            f"{torch.get_num_threads()} threads"
            if device.type == "cpu"
            else torch.cuda.get_device_name(device)
        )
        print(f"\n{device.type}: {what}, PyTorch {torch.__version__}")
        print_table(f"{cfg.data.batch_size} patches of data=eddies", default_training(cfg, device), device)
        profiles, candidates = large_patch(instantiate(oi), device)
        print_table(f"a patch of 128 x 128 x 50 with {profiles} profiles", candidates, device)
    if not torch.cuda.is_available():
        print("\ncuda: no device, not measured")


if __name__ == "__main__":
    main()
