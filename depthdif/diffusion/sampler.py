"""The reverse sampler: the chain from noise to a reconstruction, on any `diffusers` scheduler."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from depthdif import UserError
from depthdif.diffusion.noise import generator_of, noise_correlated_in_time, place_of

# Schedulers of diffusers that draw fresh noise at every step; so does any with an `algorithm_type` of "sde-...".
STOCHASTIC = (
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DPMSolverSDEScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "LCMScheduler",
)
Denoiser = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
# The noise of a member at a step.
NoiseOfMember = Callable[[int, int], Tensor]
# Keeps the draws of the columns of a member apart from those of its noise.
_COLUMNS = 1
LEAST = {"steps": 1, "ensemble_size": 1, "seed": 0, "inflation": 0, "members_at_once": 1}


def is_stochastic(scheduler: Any) -> bool:
    """Whether a `diffusers` scheduler draws fresh noise at every step of a chain."""
    algorithm = str(scheduler.config.get("algorithm_type", ""))
    return type(scheduler).__name__ in STOCHASTIC or algorithm.startswith("sde-")


def repeated(tensor: Tensor, count: int) -> Tensor:
    """Each sample of a batch `count` times; a single one is not copied."""
    if len(tensor) == 1:
        return tensor.expand(count, *tensor.shape[1:])
    return tensor.repeat_interleave(count, dim=0)


@dataclasses.dataclass(eq=False)
class ReverseSampler:
    """Runs the reverse chain for a batch; a sample does not depend on its neighbours in the batch.

    Its noise is a function of the seed, its index (or its place and time, with `time_correlated_noise`) and the ensemble member.

    Args, besides those explained in conf/model/sampler:
        scheduler: function from config and betas of the noise schedule to the `diffusers` scheduler, such as
            `DDIMScheduler.from_config`.
        clamp_observations: set observed cells to the noised observations at each step, and to the observations at the end.
        members_at_once: members of each sample in one call of the network; the members do not depend on it.
        antithetic: members come in pairs, 2k + 1 starting from minus the noise of 2k (Hammersley & Morton 1956,
            doi 10.1017/S0305004100031455): sampling errors cancel in the mean of a pair as far as the chain is linear in its
            noise, and only every other member is independent. For schedulers without fresh noise at every step alone.
        inflation: of the spread of the ensemble (`Ensemble`); the samples that are returned are not inflated.
        time_correlated_noise: None, or an e-folding time in days. A member then starts from noise that depends on its seed,
            place (`coordinates`) and `time` instead of on the index of its sample, and that is correlated from one time to the
            next (`noise_correlated_in_time`). For schedulers without fresh noise at every step alone.

    Raises:
        UserError: for steps, ensemble_size or members_at_once below 1, a negative seed or inflation, an e-folding time that is
            not positive, more steps than the noise schedule has, or antithetic pairs or noise that is correlated in time with a
            stochastic scheduler.
    """

    scheduler: Callable[..., Any]
    _: dataclasses.KW_ONLY
    steps: int
    seed: int
    ensemble_size: int
    clamp_observations: bool
    members_at_once: int | None
    antithetic: bool
    inflation: float
    # With a default, because the config of a run that was trained without it lacks it.
    time_correlated_noise: float | None = None

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(
                    f"{name} is {value}: expected at least {least}, such as model.sampler.{name}={least}"
                )
        if self.time_correlated_noise is not None and not 0 < self.time_correlated_noise < math.inf:
            raise UserError(
                f"time_correlated_noise is {self.time_correlated_noise}: expected days above 0, or null for noise that is "
                "independent from time to time, such as model.sampler.time_correlated_noise=20"
            )

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        noise_schedule: Any,
        known: Tensor,
        batch: Mapping[str, Tensor],
        noise_of_member: NoiseOfMember | None = None,
        sampled_columns: float | None = None,
    ) -> Tensor:
        """E samples of the diffused quantity for each patch: (B, E, D, H, W) float32, 0 outside the ocean.

        `known` (B, D, H, W) is the diffused quantity at the observed cells, else 0, and `batch` the data contract.
        `noise_of_member` gives the noise (D, H, W) of a member at a step for a single patch: 0 is before the first step, and
        schedulers with fresh noise at every step use the others. None draws it as described above. With `sampled_columns` the
        batch of the denoiser holds a `noised_mask`: the unobserved ocean cells in that share of the columns of each member.
        """
        members = range(self.ensemble_size)
        at_once = self.members_at_once or self.ensemble_size
        parts = [members[first : first + at_once] for first in members[::at_once]]
        chains = [
            self.chain(denoiser, noise_schedule, known, batch, part, noise_of_member, sampled_columns)
            for part in parts
        ]
        return torch.cat(chains, dim=1)

    def chain(
        self,
        denoiser: Denoiser,
        noise_schedule: Any,
        known: Tensor,
        batch: Mapping[str, Tensor],
        members: range,
        noise_of_member: NoiseOfMember | None = None,
        sampled_columns: float | None = None,
    ) -> Tensor:
        """Some members of each sample, in one batch: (B, len(members), D, H, W)."""
        scheduler = self.prepared_scheduler(noise_schedule, known.device, noise_of_member is not None)
        chains = [(index, member) for index in batch["index"].tolist() for member in members]
        generators = [generator_of([self.seed, index, self.leader(member)]) for index, member in chains]
        known = repeated(known, len(members))
        batch = {name: repeated(tensor, len(members)) for name, tensor in batch.items()}
        signs = [1 if member == self.leader(member) else -1 for _, member in chains]
        if noise_of_member is not None:
            noise = self.noise_of_members(noise_of_member, members, 0).to(known.device)
        elif self.time_correlated_noise is None:
            noise = self.initial_noise(known, generators)
        else:
            noise = self.noise_of_places(known, batch, [member for _, member in chains])
        if sampled_columns is not None:
            # Normal too, and cell by cell, so that tiles and neighbouring times agree on the columns as they do on the noise.
            column = known[:, :1]
            if noise_of_member is not None:
                draws = self.noise_of_members(noise_of_member, members, len(scheduler.timesteps) + 1)[:, :1]
            elif self.time_correlated_noise is None:
                draws = self.initial_noise(column, generators)
            else:
                draws = self.noise_of_places(column, batch, [member for _, member in chains], _COLUMNS)
            chosen = torch.special.ndtr(draws.to(known.device)) < sampled_columns
            batch["noised_mask"] = batch["ocean_mask"] & ~batch["observed_mask"] & chosen
        noise *= torch.tensor(signs, device=known.device)[:, None, None, None]
        field = noise * scheduler.init_noise_sigma
        if not self.clamp_observations:
            del noise  # a field of the size of the region less in memory
        # Only the stochastic schedulers take generators.
        takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        arguments: dict[str, Any] = {"generator": generators} if takes_generator else {}
        # Heun's scheduler lists each inner time step twice: the network is evaluated once an entry.
        for position, timestep in enumerate(scheduler.timesteps):
            if noise_of_member is not None and is_stochastic(scheduler):
                arguments = {"variance_noise": self.noise_of_members(noise_of_member, members, position + 1)}
            prediction = denoiser(scheduler.scale_model_input(field, timestep), timestep, batch)
            field = scheduler.step(prediction, timestep, field, **arguments).prev_sample
            if self.clamp_observations:
                clamped = known
                if position + 1 < len(scheduler.timesteps):
                    level = scheduler.timesteps[position + 1].expand(len(known))
                    clamped = scheduler.add_noise(known, noise, level)
                field = torch.where(batch["observed_mask"], clamped, field)
        samples = torch.where(batch["ocean_mask"], field, 0)
        return samples.unflatten(0, (-1, len(members)))

    def prepared_scheduler(
        self, noise_schedule: Any, device: torch.device, noise_is_given: bool = False
    ) -> Any:
        """A new scheduler for each chain, because schedulers keep the state of a chain.

        `noise_is_given` says whether the chain takes its noise from `noise_of_member`.

        Raises:
            UserError: more steps than the noise schedule has, or antithetic pairs or noise that is correlated in time with a
                stochastic scheduler, or a given noise with one that draws its own at every step.
        """
        available = noise_schedule.config.num_train_timesteps
        if self.steps > available:
            raise UserError(
                f"steps is {self.steps}, but the noise schedule has {available}: set model.sampler.steps={available} or less"
            )
        # The betas as values: not every scheduler of diffusers has every named noise schedule.
        scheduler = self.scheduler(noise_schedule.config, trained_betas=noise_schedule.betas.numpy())
        if self.time_correlated_noise is not None and is_stochastic(scheduler):
            raise UserError(
                f"time_correlated_noise={self.time_correlated_noise:g} with the stochastic {type(scheduler).__name__}, whose "
                "fresh noise at every step is independent; set model.sampler.time_correlated_noise=null or "
                "model/sampler=dpm_solver"
            )
        if self.antithetic and is_stochastic(scheduler):
            raise UserError(
                f"antithetic=true with the stochastic {type(scheduler).__name__}: pairs from opposite noise halve the "
                "independent members and gain nothing; set model.sampler.antithetic=false"
            )
        takes_noise = "variance_noise" in inspect.signature(scheduler.step).parameters
        if noise_is_given and is_stochastic(scheduler) and not takes_noise:
            raise UserError(
                f"the stochastic {type(scheduler).__name__} draws its noise for a whole region and not cell by cell; set "
                "model/sampler=dpm_solver_sde, or model/sampler=dpm_solver without fresh noise"
            )
        scheduler.set_timesteps(self.steps, device=device)
        return scheduler

    def leader(self, member: int) -> int:
        """The member whose noise a member starts from: the even one of an antithetic pair, else itself."""
        return member - member % 2 if self.antithetic else member

    def noise_of_members(self, noise_of_member: NoiseOfMember, members: range, step: int) -> Tensor:
        """Given noise (len(members), D, H, W) at a step; that of both of an antithetic pair is the same."""
        return torch.stack([noise_of_member(self.leader(member), step) for member in members])

    def noise_of_places(
        self, like: Tensor, batch: Mapping[str, Tensor], members: Sequence[int], *stream: int
    ) -> Tensor:
        """Noise of the shape of `like` (N, D, H, W) that is correlated in time, of the place, time and member of each sample."""
        assert self.time_correlated_noise is not None
        places, days = batch["coordinates"].tolist(), batch["time"].tolist()
        draws = [
            noise_correlated_in_time(
                like.shape[1:],
                [self.seed, *place_of(*place), self.leader(member), *stream],
                day,
                self.time_correlated_noise,
            )
            for place, day, member in zip(places, days, members, strict=True)
        ]
        return torch.stack(draws).to(like.device)

    @staticmethod
    def initial_noise(like: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Standard normal noise of the shape of `like`, each sample from its own generator."""
        draws = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
        return torch.stack(draws).to(like.device)
