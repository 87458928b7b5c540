"""A trained model as a `diffusers` pipeline: a folder of safetensors and JSON, from physical units to physical units."""

# No `from __future__ import annotations`: diffusers reads the classes in the signature of __init__.
import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date as Date
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor

from depthdif import UserError
from depthdif.build import build_module, resolved
from depthdif.checkpoints.resume import check_architecture
from depthdif.checkpoints.trusted_targets import foreign_targets
from depthdif.data.dataset import Conditioner, collate
from depthdif.data.statistics import TrainingStatistics
from depthdif.data.variables import channels_of
from depthdif.diffusion.ensemble import Ensemble
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.reconstruction import reconstruct
from depthdif.first_guess.protocol import FirstGuess
from depthdif.terminal import command

DESCRIPTION = "ocean.json"
CONDITIONING = "conditioning.safetensors"
CLIMATOLOGY = "climatology.safetensors"
UNET = "denoiser.unet."


@dataclass
class OceanReconstruction(BaseOutput):
    """The `Ensemble` of one patch as arrays in units of the field, float32, NaN outside the ocean.

    Attributes:
        mean: (D, H, W) of the ensemble.
        std: (D, H, W) of the ensemble; None with fewer than two independent members.
        samples: (E, D, H, W) members.
    """

    mean: np.ndarray
    std: np.ndarray | None
    samples: np.ndarray


@dataclass(frozen=True)
class ModelDescription:
    """A trained model without its weights; `ocean.json` of an export.

    Attributes:
        config: `model` and `seed` of the training config, resolved; without `ema`.
        data: state of the data module in a checkpoint (variable, units, depths, statistics).
        precision: that the network computes in, such as "bf16-mixed".
    """

    config: dict[str, Any]
    data: dict[str, Any]
    precision: str = "32-true"

    @classmethod
    def from_config(cls, cfg: DictConfig, data: Mapping[str, Any], precision: str) -> "ModelDescription":
        """From a config of training, the `state_dict` of its data module, and the precision of the run."""
        model = {key: part for key, part in resolved(cfg.model).items() if key != "ema"}
        return cls({"model": model, "seed": cfg.seed}, dict(data), precision)

    def conditioner(self) -> Conditioner:
        """The function from physical units to the conditions of a patch."""
        return TrainingStatistics.from_state_dict(self.data).conditioner()

    def first_guess(self) -> FirstGuess | None:
        """The first guess that the model was trained with."""
        return instantiate(self.config["model"]["first_guess"])

    @classmethod
    def read(cls, folder: str | Path) -> "ModelDescription":
        """Read `ocean.json` of an export.

        Raises:
            FileNotFoundError: the folder has no such file.
            UserError: it has a `_target_` that does not belong to depthdif.
        """
        path = Path(folder) / DESCRIPTION
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected a folder written by {command('export')}")
        content = json.loads(path.read_text(encoding="utf-8"))
        if foreign := foreign_targets(content["config"]):
            raise UserError(f"{path}: uses {foreign[0]}, which is not a part of depthdif and is not run")
        if climatology := content["data"]["climatology"]:
            climatology.update(load_file(Path(folder) / CLIMATOLOGY))
        return cls(**content)


class OceanPipeline(DiffusionPipeline):
    """Reconstructs a dense ocean field from profiles and surface fields.

        pipeline = OceanPipeline.from_pretrained("folder")
        reconstruction = pipeline(observations, surface, latitude, longitude, "2018-06-15", ensemble_size=8)

    `unet` and `scheduler` are plain components of `diffusers`: another reverse chain is
    `pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)`. The other weights of the denoiser are in
    `conditioning.safetensors`, settings and statistics in `ocean.json`.

    Args:
        unet: of the denoiser.
        scheduler: of the reverse chain.
        module: denoiser, residual and sampler; uses `unet` and `scheduler`.
        trained: settings and statistics of `module`.
    """

    _optional_components: ClassVar[list[str]] = ["module", "trained"]

    def __init__(
        self, unet: UNet2DModel, scheduler: SchedulerMixin, module: DiffusionModule, trained: ModelDescription
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, module=None, trained=None)
        self.module, self.trained = module, trained
        self.conditioner, self.first_guess = trained.conditioner(), trained.first_guess()

    @property
    def variables(self) -> dict[str, slice]:
        """The channels of each variable in observations and reconstructions."""
        depths = len(self.trained.data["depths"])
        return {
            each["name"]: channels_of(number, depths)
            for number, each in enumerate(self.trained.data["variables"])
        }

    @classmethod
    def from_module(cls, module: DiffusionModule, trained: ModelDescription) -> "OceanPipeline":
        """The pipeline of a trained module."""
        scheduler = module.sampler.prepared_scheduler(module.noise_schedule, torch.device("cpu"))
        return cls(module.denoiser.unet, scheduler.from_config(scheduler.config), module, trained)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> "OceanPipeline":
        """Load a folder of `save_pretrained` or `scripts/export.py`, without a download.

        `options` are those of `DiffusionPipeline.from_pretrained`.

        Raises:
            FileNotFoundError: no such folder.
            UserError: the folder uses code that does not belong to depthdif, or its weights do not fit.
        """
        trained = ModelDescription.read(folder)
        module = build_module(OmegaConf.create(trained.config), trained.data).eval()
        options = {"low_cpu_mem_usage": False, **options}
        pipeline = super().from_pretrained(str(folder), module=module, trained=trained, **options)
        for parameter in pipeline.unet.parameters():
            # Tensors in the file are not aligned, and kernels may round otherwise there than in the checkpoint.
            parameter.data = parameter.data.clone()
        weights = load_file(Path(folder) / CONDITIONING)
        weights |= {UNET + key: tensor for key, tensor in pipeline.unet.state_dict().items()}
        check_architecture(str(folder), module.state_dict(), weights)
        module.load_state_dict(weights)
        return pipeline

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write the folder; `unet` and `scheduler` in it load with `diffusers` alone."""
        super().save_pretrained(str(folder), **options)
        state = self.module.state_dict()
        save_file({key: state[key] for key in state if not key.startswith(UNET)}, Path(folder) / CONDITIONING)
        trained = asdict(self.trained)
        if climatology := trained["data"]["climatology"]:
            # Large, and JSON has no NaN.
            save_file({"coefficients": climatology.pop("coefficients")}, Path(folder) / CLIMATOLOGY)
        description = json.dumps(trained, indent=2, default=Tensor.tolist) + "\n"
        (Path(folder) / DESCRIPTION).write_text(description, encoding="utf-8")
        # safetensors makes files that only their owner can read; these are as readable as the others.
        for weights in Path(folder).rglob("*.safetensors"):
            weights.chmod((Path(folder) / DESCRIPTION).stat().st_mode)

    def __call__(
        self,
        observations: np.ndarray,
        surface: np.ndarray | None,
        latitude: np.ndarray,
        longitude: np.ndarray,
        date: str | Date | np.datetime64,
        ocean_mask: np.ndarray | None = None,
        index: int = 0,
        **sampling: Any,
    ) -> OceanReconstruction:
        """Reconstruct one patch.

        Args:
            observations: (D, H, W) in the units and on the depths of the training data, NaN where not observed. Of several
                variables the depths of the first one come first, then those of the next (`variables`); so in all that follows.
            surface: (S, H, W) in the units and the order of the training data, NaN where missing; None without any.
            latitude, longitude: (H,) and (W,) degrees north and east of the cells, ascending.
            date: of the patch; its season is a condition, and noise that is correlated in time depends on it.
            ocean_mask: (D, H, W) bool; with None every cell is ocean.
            index: number of the patch; its noise is drawn from the seed and this number.
            sampling: `steps`, `seed`, `ensemble_size`, `antithetic`, `clamp_observations`, `time_correlated_noise` of the reverse
                chain; as trained when left out.

        Raises:
            UserError: shapes that do not fit, infinite values, observations outside the ocean, or coordinates that do not
                ascend.
            ValueError: a date that NumPy cannot read.
        """
        patch = self.conditions(observations, surface, latitude, longitude, date, ocean_mask)
        batch = collate([{**patch, "index": np.int64(index)}], self.first_guess)
        ensemble = self.reconstruct(batch, **sampling)
        std = None if ensemble.std is None else ensemble.std[0]
        return OceanReconstruction(mean=ensemble.mean[0], std=std, samples=ensemble.members[0])

    def reconstruct(self, batch: Mapping[str, Tensor], **sampling: Any) -> Ensemble:
        """Reconstruct a batch of the data contract (docs/data.md) in the precision of the run; `sampling` is as in a call.

        The numbers are those of the trained module, bit for bit on the same CPU.
        """
        module = self.module.to(self.unet.device)
        module.denoiser.unet = self.unet
        module.sampler = instantiate(self.trained.config["model"]["sampler"], _partial_=True)(**sampling)
        # A copy for each chain: schedulers keep state.
        module.sampler.scheduler = lambda *_, **__: copy.deepcopy(self.scheduler)
        return reconstruct(module, batch, self.conditioner.standardization, self.trained.precision)

    def conditions(
        self,
        observations: np.ndarray,
        surface: np.ndarray | None,
        latitude: np.ndarray,
        longitude: np.ndarray,
        date: str | Date | np.datetime64,
        ocean_mask: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """The standardised conditions of one patch as in the data contract, but without first guess; arguments as in a call."""
        observations = np.asarray(observations, np.float32)
        depths, shape = len(self.trained.data["depths"]), observations.shape
        channels = depths * len(self.variables)
        of = f" of {' then '.join(self.variables)}" if len(self.variables) > 1 else ""
        check_shape("observations", shape, (channels, *shape[-2:]), f"{depths} depths{of}, height, width")
        surface = np.asarray(np.empty((0, *shape[1:])) if surface is None else surface, np.float32)
        fields = self.trained.data["surface"]
        check_shape("surface", surface.shape, (len(fields), *shape[1:]), ", ".join(fields) or "none")
        ocean = np.ones(shape, bool) if ocean_mask is None else np.asarray(ocean_mask, bool)
        check_shape("ocean_mask", ocean.shape, shape, "that of observations")
        latitude, longitude = np.asarray(latitude, np.float32), np.asarray(longitude, np.float32)
        for name, axis, length in (("latitude", latitude, shape[1]), ("longitude", longitude, shape[2])):
            check_shape(name, axis.shape, (length,), "one value for each cell")
            if not np.all(axis[1:] > axis[:-1]):
                raise UserError(
                    f"{name} does not ascend; reverse the patch along it, or unwrap it at 360 degrees"
                )
        if not np.all(np.abs(latitude) <= 90):
            raise UserError("latitude is outside of -90 to 90; expected degrees north")
        for name, values in (("observations", observations), ("surface", surface)):
            if np.isinf(values).any():
                raise UserError(f"{name} contains infinite values; expected NaN where a value is missing")
        if outside := int((np.isfinite(observations) & ~ocean).sum()):
            raise UserError(f"{outside} observations are outside ocean_mask; expected NaN there")
        day = np.datetime64(date).astype("datetime64[D]")
        day_of_year = int((day - day.astype("datetime64[Y]")).astype(int)) + 1
        conditions = self.conditioner(observations, surface, ocean, latitude, longitude, day_of_year)
        return {**conditions, "time": day.astype(np.int64)}


def check_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...], meaning: str) -> None:
    """Raise UserError for another shape than the expected one."""
    if shape != expected:
        raise UserError(f"{name} has the shape {shape}; expected {expected} ({meaning})")
