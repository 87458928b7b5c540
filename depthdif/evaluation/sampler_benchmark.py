"""How good a reconstruction is for how many evaluations of the network: every sampler on the same patches and the same noise."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.dataset import collate
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.sampler import ReverseSampler
from depthdif.evaluation.forecast import Forecast, Truth

# What the schedulers of diffusers raise for a prediction type that they do not take, or too few steps (OutOfMemoryError is ours).
UNFIT = (ValueError, IndexError, AssertionError, RuntimeError, ArithmeticError, ImportError)

SCORES = ("rmse", "rmse_mean", "crps")

# Evaluations of the network that a sample may cost.
FEW = 10

# Faults of what came out of a chain; the others are the errors of a scheduler.
NOT_FINITE, UNSTABLE = "not finite", "unstable"

# So many times the smallest RMSE of all: the chain has left the data.
FAR = 10.0


@dataclass(frozen=True)
class Candidate:
    """A sampler with a spacing of its time steps.

    Attributes:
        sampler: name, such as ddim.
        spacing: name, such as trailing.
        scheduler: makes the `diffusers` scheduler from the config of the noise schedule.
    """

    sampler: str
    spacing: str
    scheduler: Callable[..., Any]

    @property
    def name(self) -> str:
        """Such as `ddim, trailing`."""
        return f"{self.sampler}, {self.spacing}"


@dataclass(frozen=True)
class Point:
    """Scores of a candidate at a number of evaluations, over the unobserved ocean cells, in units of the field.

    Attributes:
        candidate: which sampler.
        asked: evaluations for each sample that were asked for.
        evaluations: what they came to; at most `asked`.
        steps: `model.sampler.steps`.
        rmse: of a single sample; the squared errors of all members are averaged.
        rmse_mean: of the mean of the ensemble.
        crps: fair estimate from the ensemble.
        spread: root of the variance that the members say the error of their mean has.
        seconds: wall time for one sample of one patch.
        fault: why there are no scores, "" where there are.
    """

    candidate: Candidate
    asked: int
    evaluations: int = 0
    steps: int = 0
    rmse: float = np.nan
    rmse_mean: float = np.nan
    crps: float = np.nan
    spread: float = np.nan
    seconds: float = np.nan
    fault: str = ""


class SamplerBenchmark:
    """Reconstructs fixed patches of the validation set with other samplers.

    Args:
        module: trained, with its weights loaded.
        data: of the module; its validation set is used.
        device: where to reconstruct.
        patches: the first so many of the validation set.
        ensemble_size: samples of each patch; the CRPS needs two.
        batch_size: patches reconstructed at a time.
        seed: of the noise, the same for every sampler.
        advance: called with the evaluations of the network that are done, for a progress bar.

    Attributes:
        first_guess_rmse: RMSE of the first guess on the same cells; None without one.

    Raises:
        ValueError: fewer than two samples, more patches than the validation set has.
    """

    def __init__(
        self,
        module: DiffusionModule,
        data: OceanDataModule,
        device: torch.device,
        patches: int = 8,
        ensemble_size: int = 4,
        batch_size: int = 8,
        seed: int = 0,
        advance: Callable[[int], None] = lambda evaluations: None,
    ) -> None:
        if ensemble_size < 2:
            raise ValueError(
                f"ensemble_size={ensemble_size}; expected at least 2 for the CRPS, e.g. ensemble_size=4"
            )
        samples = data.validation_samples()
        if not 1 <= patches <= len(samples):
            raise ValueError(
                f"patches={patches}, but the validation set has {len(samples)}; type patches={len(samples)} or fewer, "
                f"or data.validation_patches={patches} for a larger set"
            )
        self.module = module.to(device)
        self.standardization = data.standardization
        self.seed, self.ensemble_size, self.advance = seed, ensemble_size, advance
        self.as_trained = module.sampler
        loader = DataLoader(Subset(samples, range(patches)), batch_size=batch_size, collate_fn=collate)
        self.batches = [
            (on_device(batch, device), Truth.of_batch(batch, self.standardization)) for batch in loader
        ]
        self.samples = ensemble_size * patches
        self.first_guess_rmse = self.score_of_first_guess()
        # What is wrong with the model or its data is said here, and a device warms up.
        self.reconstruct(self.batches[0][0])

    def curve(self, candidate: Candidate, evaluations: Sequence[int]) -> list[Point]:
        """The point at each number of `evaluations`, or why there is none."""
        return [self.point(candidate, asked) for asked in evaluations]

    def point(self, candidate: Candidate, asked: int) -> Point:
        """Scores with at most `asked` evaluations of the network for each sample."""
        started = time.perf_counter()
        try:
            self.module.sampler, evaluations = self.sampler(candidate, asked)
            forecasts = [self.reconstruct(batch) for batch, _ in self.batches]
        except torch.OutOfMemoryError:
            raise
        except UNFIT as error:
            self.advance(asked)
            return Point(candidate, asked, fault=" ".join(f"{type(error).__name__}: {error}".split()))
        seconds = time.perf_counter() - started
        self.advance(asked)
        return self.scored(
            Point(candidate, asked, evaluations, self.module.sampler.steps, seconds=seconds / self.samples),
            forecasts,
        )

    def scored(self, point: Point, forecasts: Sequence[Forecast]) -> Point:
        """The point with the scores of the forecasts of all batches."""
        if not all(np.isfinite(forecast.members).all() for forecast in forecasts):
            return replace(point, fault=NOT_FINITE)
        sums, count = np.zeros(4), 0
        for forecast, (_, truth) in zip(forecasts, self.batches, strict=True):
            errors = np.square(forecast.members - truth.values[:, None], dtype=np.float64).mean(axis=1)
            mean_error = np.square(forecast.mean - truth.values, dtype=np.float64)
            fields = (errors, mean_error, forecast.crps(truth), forecast.variance())
            sums += [field[truth.scored].sum() for field in fields]
            count += int(truth.scored.sum())
        rmse, rmse_mean, spread = np.sqrt(sums[[0, 1, 3]] / count).tolist()
        return replace(point, rmse=rmse, rmse_mean=rmse_mean, crps=float(sums[2] / count), spread=spread)

    def sampler(self, candidate: Candidate, asked: int) -> tuple[ReverseSampler, int]:
        """The sampler with the most steps that take at most `asked` evaluations, and how many they take.

        The chain asks the network once for each entry of the scheduler's time steps: a step of Heun has two.
        """
        for steps in range(asked, 0, -1):
            # All else as trained: clamping, pairs, inflation.
            sampler = copy.copy(self.as_trained)
            sampler.scheduler, sampler.steps = candidate.scheduler, steps
            sampler.seed, sampler.ensemble_size = self.seed, self.ensemble_size
            scheduler = sampler.prepared_scheduler(self.module.noise_schedule, self.module.device)
            if len(scheduler.timesteps) <= asked:
                return sampler, len(scheduler.timesteps)
        raise ValueError(f"takes more than {asked} evaluations")

    def reconstruct(self, batch: Mapping[str, Tensor]) -> Forecast:
        """The ensemble of a batch, in units of the field."""
        with torch.inference_mode():
            samples = self.module.reconstruct(batch)
        members = self.standardization.restore(samples.float().cpu().numpy())
        return Forecast(members, antithetic=self.as_trained.antithetic)

    def score_of_first_guess(self) -> float | None:
        """RMSE of the first guess, which a sample has to beat."""
        square, count = 0.0, 0
        for batch, truth in self.batches:
            if "first_guess" not in batch:
                return None
            guess = self.standardization.restore(batch["first_guess"].cpu().numpy())
            square += float(np.square(guess - truth.values, dtype=np.float64)[truth.scored].sum())
            count += int(truth.scored.sum())
        return float(np.sqrt(square / count))


def on_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The batch where the module is."""
    return {name: tensor.to(device) for name, tensor in batch.items()}


def with_unstable_named(points: Sequence[Point]) -> list[Point]:
    """The points; one whose RMSE is far from the best of all gets a fault that says so, and keeps its scores."""
    best = min((point.rmse for point in points if not point.fault), default=np.nan)
    return [
        replace(point, fault=UNSTABLE) if not point.fault and point.rmse > FAR * best else point
        for point in points
    ]


@dataclass(frozen=True)
class Verdict:
    """How few evaluations a candidate needs to come within a tolerance of what it reaches with the most.

    Attributes:
        candidate: which sampler.
        reference: its point with the most evaluations.
        few: its point with the most evaluations up to FEW; None where it has no scores there.
        fewest: evaluations, for each of SCORES, from which on all points are within the tolerance above the reference.
    """

    candidate: Candidate
    reference: Point
    few: Point | None
    fewest: Mapping[str, int]

    @property
    def change(self) -> float:
        """RMSE of a sample at few evaluations over that at the most; NaN without the first.

        Near 1 the chain has converged. Below 1 the samples at few evaluations are smoother; where the RMSE of the mean and
        the CRPS rise as well with more of them, the network at low noise is at fault, not the sampler.
        """
        return np.nan if self.few is None else self.few.rmse / self.reference.rmse


def verdicts(points: Sequence[Point], tolerance: float) -> list[Verdict]:
    """A verdict for each candidate that has scores at its largest number of evaluations; lowest CRPS there first."""
    found = []
    for candidate in dict.fromkeys(point.candidate for point in points):
        own = sorted((p for p in points if p.candidate == candidate), key=lambda point: point.asked)
        if not own[-1].fault:
            fewest = {score: fewest_evaluations(own, score, tolerance) for score in SCORES}
            few = [point for point in own if not point.fault and point.evaluations <= FEW]
            found.append(Verdict(candidate, own[-1], few[-1] if few else None, fewest))
    return sorted(found, key=lambda verdict: verdict.reference.crps)


def fewest_evaluations(points: Sequence[Point], score: str, tolerance: float) -> int:
    """Evaluations from which on each of the `points`, in rising order, is at most `tolerance` above the last one."""
    limit = (1 + tolerance) * getattr(points[-1], score)
    fewest = points[-1].evaluations
    for point in reversed(points):
        # A lucky crossing at fewer evaluations does not count.
        if point.fault or getattr(point, score) > limit:
            break
        fewest = point.evaluations
    return fewest


def best_point(points: Sequence[Point], most: int = FEW) -> Point | None:
    """The lowest CRPS, a proper score of error and spread at once, with at most so many evaluations; None without any."""
    within = [point for point in points if not point.fault and point.evaluations <= most]
    return min(within, key=lambda point: point.crps, default=None)
