"""EMA for any LightningModule: when to update, which weights to evaluate, what to save."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from depthdif.ema.arguments import check, check_decays, check_integer
from depthdif.ema.checkpoint import canonical, find_averages, migrate_averages, migration
from depthdif.ema.decay import Decay, parse_decay, too_long_for
from depthdif.ema.slots import captured, count_writes
from depthdif.ema.tracker import Tracker


class EMAConfigurationError(MisconfigurationException, ValueError):
    """The module of a run cannot be averaged, or its checkpoint holds averages of another shape."""


class EMACallback(Callback):
    """Keeps an exponential moving average (EMA) of the weights of any LightningModule, and evaluates with it.

    After each optimizer step `ema = decay * ema + (1 - decay) * current` for the floating tensors of the
    `state_dict`; all others are copied. Validation, test and predict run with the averages, training with the raw
    weights. Checkpoints hold the raw weights under `state_dict` and the averages in this callback's state under
    `ema_weights`, whenever and however they are written. `docs/ema.md` has a timeline and explains every number.

    Args:
        decay: share of the old average that an update keeps, 0 <= decay <= 1; or "width_0.05", of a power-function average.
        apply_every_n_steps: update at every n-th optimizer step.
        start_step: first optimizer step that updates; before it the average equals the raw weights.
        save_ema_weights_in_callback_state: write the averages into checkpoints.
        evaluate_ema_weights_instead: validate, test and predict with the averages, once there was an update.
        warmup: use the decay min(decay, (1 + n) / (10 + n)) after n updates.
        extra_decays: decays of further averages in the same run, the variants "ema_0.99", "ema_width_0.1" and so on.

    Attributes:
        decays: the decay of each average by its variant, "ema" for the main one first.
        variants: names of all sets of weights: "standard", "ema", and "ema_0.99" for each extra decay.

    Raises:
        ValueError: an argument is out of range; `EMAConfigurationError` when a run starts.
    """

    def __init__(
        self,
        decay: Decay | str = 0.9999,
        apply_every_n_steps: int = 1,
        start_step: int = 0,
        save_ema_weights_in_callback_state: bool = True,
        evaluate_ema_weights_instead: bool = True,
        warmup: bool = False,
        extra_decays: Sequence[Decay | str] = (),
    ) -> None:
        check_decays(decay, extra_decays)
        check_integer("EMACallback", "model.ema.apply_every_n_steps", apply_every_n_steps, 1, 1)
        check_integer("EMACallback", "model.ema.start_step", start_step, 0, 0)
        self.decay = parse_decay(decay)
        self.extra_decays = tuple(map(parse_decay, extra_decays))
        self.decays = {"ema": self.decay, **{f"ema_{extra}": extra for extra in self.extra_decays}}
        self.variants = ("standard", *self.decays)
        self.apply_every_n_steps = apply_every_n_steps
        self.start_step = start_step
        self.save_ema_weights_in_callback_state = save_ema_weights_in_callback_state
        self.evaluate_ema_weights_instead = evaluate_ema_weights_instead
        self.warmup = warmup
        for name in ("save_ema_weights_in_callback_state", "evaluate_ema_weights_instead", "warmup"):
            flag = getattr(self, name)
            check("EMACallback", f"model.ema.{name}", flag, isinstance(flag, bool), "true or false", "true")
        self._tracker: Tracker | None = None
        self._loaded: dict[str, Any] | None = None
        self._has_stepped = False
        self._skips_before = 0
        self._has_warned_of_skips = False
        self._writes: list[int] = []
        self._trainer: weakref.ref[Trainer] | None = None
        self._evaluation = ExitStack()
        self._optimizer_hooks: list[Any] = []
        self._stepping = ExitStack()

    @property
    def evaluates(self) -> str:
        """The variant that validation, test and predict are configured to use."""
        return "ema" if self.evaluate_ema_weights_instead else "standard"

    @property
    def updates(self) -> int:
        """Number of updates made, without skipped ones."""
        return 0 if self._tracker is None else self._tracker.updates

    @property
    def skipped_updates(self) -> int:
        """Number of updates skipped because a weight was NaN or infinite."""
        return 0 if self._tracker is None else self._tracker.averages.skipped_updates

    @property
    def ema_weights(self) -> dict[str, Tensor]:
        """Copies of the averaged tensors by `state_dict` key (of the main decay); empty before a run."""
        if self._tracker is None:
            return dict((self._loaded or {}).get("ema_weights") or {})
        with torch.inference_mode(False):
            return {key: tensor.detach().clone() for key, tensor in self._tracker.state("ema").items()}

    def weights(self, variant: str) -> AbstractContextManager[None]:
        """Context in which the module holds the weights of `variant`, at any moment of a run; afterwards those from before.

        Before the first update all variants are the current weights.
        """
        if variant not in self.variants:
            expected = ", ".join(self.variants)
            raise ValueError(f"EMACallback.weights: expected one of {expected}, got {variant!r}")
        return nullcontext() if self._tracker is None else self._tracker.holding(variant)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the averages of an earlier run only where they belong to this module, as training left it."""
        self._restore()
        is_followed = self._tracker is not None and self._tracker.averages.follows(pl_module)
        is_changed = is_followed and count_writes(pl_module) != self._writes
        if is_changed:
            rank_zero_warn("EMA: the weights were changed since the last run; its averages are not used")
        is_resumed = stage != "fit" or (self._trainer is not None and self._trainer() is trainer)
        if not is_followed or is_changed or not is_resumed:
            self._tracker = None
        self._trainer = weakref.ref(trainer)
        self._loaded = None
        self._has_stepped = False
        # What Lightning saves and restores passes through these methods, whenever and for whatever reason.
        strategy: Any = trainer.strategy
        strategy.load_checkpoint = partial(self._load_checkpoint, strategy)
        strategy.lightning_module_state_dict = partial(self._raw_state_dict, strategy)
        strategy.save_checkpoint = partial(self._save_checkpoint, strategy)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the averages, or continue them, and register hooks of the optimizers."""
        self._attach(trainer, pl_module)
        if self._tracker is None:
            self._track(trainer, pl_module, {})
        self._skips_before = self.skipped_updates
        for optimizer in trainer.optimizers:
            if isinstance(optimizer, torch.optim.Optimizer):
                # A batch may have several steps, and AMP may skip some. The weights of a step count as they are when
                # the next begins, or the batch ends: the module may still clip or project them.
                self._optimizer_hooks += [
                    optimizer.register_step_pre_hook(lambda *_: self._before_step()),
                    optimizer.register_step_post_hook(lambda *_: self._after_step()),
                ]
        planned = (trainer.estimated_stepping_batches - self.start_step) / self.apply_every_n_steps
        if advice := too_long_for(self.decay, planned, self.warmup):
            rank_zero_warn(f"EMA: {advice}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Account for the last optimizer step of the batch, when the weights are final."""
        if not self._optimizer_hooks and self._tracker is not None:
            self._has_stepped = trainer.global_step > self._tracker.steps
        self._account()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The module keeps its raw weights; every process has the same averages."""
        self._synchronise(trainer)
        if trainer.global_step > 0 and self._tracker is not None and self._tracker.steps == 0:
            rank_zero_warn("EMA: no optimizer step was seen, so that the averages are the initial weights")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exchange the weights for the averages, in test and predict too."""
        if trainer.state.fn != "fit":
            self._attach(trainer, pl_module)
        if self._tracker is not None:
            self._synchronise(trainer)
            self._evaluation.enter_context(self._tracker.holding(self.evaluates))

    on_test_start = on_predict_start = on_validation_start

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log how far the averages are from the raw weights."""
        if trainer.sanity_checking or self._tracker is None:
            return
        # A step that the device skipped is known only now, when the device is synchronised anyway.
        self._warn_of_skips(self.skipped_updates)
        # Raw batch statistics differ between the ranks of DDP: those of the first count, as they do in its files.
        for key, value in trainer.strategy.broadcast(self._tracker.scalars()).items():
            pl_module.log(key, value, sync_dist=trainer.world_size > 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exchange back, in test and predict too."""
        self._evaluation.close()

    on_test_end = on_predict_end = on_validation_end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the module its raw weights back."""
        self.teardown(trainer, pl_module, "exception")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the module with its raw weights and remember how it was left."""
        self._restore()
        self._writes = count_writes(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, in plain types and copies."""
        if self._tracker is None:
            return dict(self._loaded or {})
        self._account()
        return self._tracker.state_dict(with_weights=self.save_ema_weights_in_callback_state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint until the module is on its device."""
        self._loaded = dict(state_dict)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Read the averages of other EMA callbacks: DepthDif's, NeMo's, Lightning's WeightAveraging."""
        if self.state_key in checkpoint["callbacks"]:
            return
        self._loaded = find_averages(checkpoint)
        if "current_model_state" in checkpoint:
            self._loaded = {"ema_weights": canonical(checkpoint["state_dict"])}
            pl_module.load_state_dict(checkpoint["current_model_state"])

    def _load_checkpoint(self, strategy: Strategy, *args: Any, **kwargs: Any) -> dict[str, Any]:
        checkpoint: dict[str, Any] = type(strategy).load_checkpoint(strategy, *args, **kwargs)
        if (hook := migration(strategy.lightning_module)) is not None:
            migrate_averages(checkpoint, hook)
        return checkpoint

    def _raw_state_dict(self, strategy: Strategy) -> dict[str, Any]:
        with self.weights("standard"):
            return captured(type(strategy).lightning_module_state_dict(strategy), whole=False)

    def _save_checkpoint(
        self, strategy: Strategy, checkpoint: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        # With save_weights_only Lightning saves no callback states, so the averages are added here.
        if "callbacks" not in checkpoint and (state := self.state_dict()).get("ema_weights"):
            checkpoint["callbacks"] = {self.state_key: state}
        type(strategy).save_checkpoint(strategy, checkpoint, *args, **kwargs)

    def _raw_weights(self) -> AbstractContextManager[None]:
        # The module may train while it holds an average, in validation_step say.
        holds_average = self._tracker is not None and self._tracker.averages.active is not None
        return self.weights("standard") if holds_average else nullcontext()

    def _before_step(self) -> None:
        self._stepping.enter_context(self._raw_weights())
        self._account()

    def _after_step(self) -> None:
        self._stepping.close()
        self._has_stepped = True

    def _account(self) -> None:
        """Update the averages after an optimizer step, if there was one."""
        if self._has_stepped and self._tracker is not None:
            self._has_stepped = False
            with self._raw_weights():
                self._tracker.step()
            self._warn_of_skips(self._tracker.averages.known_skips)

    def _warn_of_skips(self, skips: int) -> None:
        assert self._tracker is not None
        if skips > self._skips_before and not self._has_warned_of_skips:
            self._has_warned_of_skips = True
            rank_zero_warn(
                f"EMA: weights are NaN or infinite at optimizer step {self._tracker.steps}; "
                "the averages leave such steps out and count them in ema/skipped_updates"
            )

    def _track(self, trainer: Trainer, pl_module: LightningModule, state: dict[str, Any]) -> None:
        """Create the averages, from a saved state if it is not empty."""
        schedule = (self.apply_every_n_steps, self.start_step, self.warmup)
        try:
            self._tracker = Tracker(pl_module, self.decays, *schedule, trainer.global_step)
            warnings = self._tracker.load_state_dict(state) if state else []
        except ValueError as error:
            raise EMAConfigurationError(str(error)) from error
        for warning in warnings:
            rank_zero_warn(f"EMA: {trainer.ckpt_path}: {warning}")

    def _attach(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load saved averages, once a run, when the module is complete and on its device."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None and loaded.get("ema_weights") is not None:
            self._track(trainer, pl_module, loaded)
        elif trainer.ckpt_path is not None:
            self._tracker = None
            if trainer.state.fn == "fit":
                rank_zero_warn(f"EMA: no averages in {trainer.ckpt_path}; they restart from its raw weights")
            elif self.evaluate_ema_weights_instead:
                rank_zero_info(f"EMA: no averages in {trainer.ckpt_path}; evaluating its standard weights")

    def _synchronise(self, trainer: Trainer) -> None:
        replicated = isinstance(trainer.strategy, DDPStrategy | ModelParallelStrategy)
        if replicated and trainer.world_size > 1 and self._tracker is not None:
            self._tracker.averages.broadcast_buffers()

    def _restore(self) -> None:
        """Give the module its raw weights and remove the hooks of the optimizers."""
        self._stepping.close()
        self._evaluation.close()
        if self._tracker is not None:
            self._tracker.averages.release()
        for hook in self._optimizer_hooks:
            hook.remove()
        self._optimizer_hooks = []
