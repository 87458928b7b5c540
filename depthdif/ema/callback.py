"""EMA for any LightningModule: when to update, which weights to evaluate, what to save. Hooks only."""

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

from depthdif.ema.checkpoint import canonical, find_averages, migrate_averages, migration
from depthdif.ema.decay import WIDEST, Decay, is_decay, parse_decay, too_long_for
from depthdif.ema.slots import captured, count_writes
from depthdif.ema.tracker import Tracker


class EMAConfigurationError(MisconfigurationException, ValueError):
    """The module or the checkpoint of a run cannot be averaged as it is, which shows only when the run starts."""


class EMACallback(Callback):
    """Keeps an exponential moving average (EMA) of the weights of any LightningModule, and evaluates with it.

    After each optimizer step `ema = decay * ema + (1 - decay) * current` for the floating tensors of the
    `state_dict`; all others are copied. Validation, test and predict run with the averages; training never
    sees them. Checkpoints hold the raw weights under `state_dict` and the averages in this callback's state
    under `ema_weights`, whenever and however they are written. `docs/ema.md` shows a timeline and explains
    every number.

    Args:
        decay: share of the old average that an update keeps, 0 <= decay <= 1; or "width_0.05", of a power-function average.
        apply_every_n_steps: update at every n-th optimizer step.
        start_step: first optimizer step that updates; before it the average equals the raw weights.
        save_ema_weights_in_callback_state: write the averages into checkpoints.
        evaluate_ema_weights_instead: validate, test and predict with the averages, once there was an update.
        warmup: use the decay min(decay, (1 + n) / (10 + n)) after n updates.
        extra_decays: further averages to track in the same run, named "ema_0.99", "ema_width_0.1" and so on.

    Attributes:
        decays: the decay of each average by its variant, "ema" for the main one first.

    Raises:
        ValueError: an argument is out of range; `EMAConfigurationError`, which is one, when a run starts whose module cannot be
            averaged or whose checkpoint holds averages of another shape.
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
        counts = {"apply_every_n_steps": (apply_every_n_steps, 1), "start_step": (start_step, 0)}
        flags = {
            "save_ema_weights_in_callback_state": save_ema_weights_in_callback_state,
            "evaluate_ema_weights_instead": evaluate_ema_weights_instead,
            "warmup": warmup,
        }
        _check_decays(decay, extra_decays)
        for name, (count, least) in counts.items():
            is_count = isinstance(count, int) and not isinstance(count, bool) and count >= least
            _expect(is_count, name, count, f"an integer >= {least}", str(least))
        for name, flag in flags.items():
            _expect(isinstance(flag, bool), name, flag, "true or false", "true")
        self.decays: dict[str, Decay] = {
            "ema": parse_decay(decay),
            **{f"ema_{extra}": extra for extra in map(parse_decay, extra_decays)},
        }
        self.apply_every_n_steps = apply_every_n_steps
        self.start_step = start_step
        self.save_ema_weights_in_callback_state = save_ema_weights_in_callback_state
        self.evaluate_ema_weights_instead = evaluate_ema_weights_instead
        self.warmup = warmup
        self._tracker: Tracker | None = None
        self._loaded: dict[str, Any] | None = None
        self._is_attached = False
        self._has_stepped = False
        self._skips_before = 0
        self._has_warned_of_skips = False
        self._writes: list[int] = []
        self._trainer: weakref.ref[Trainer] | None = None
        self._evaluation = ExitStack()
        self._optimizer_hooks: list[Any] = []

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of all sets of weights: "standard", "ema", and "ema_0.99" for each extra decay."""
        return ("standard", *self.decays)

    @property
    def decay(self) -> Decay:
        """The main decay."""
        return self.decays["ema"]

    @property
    def extra_decays(self) -> tuple[Decay, ...]:
        """The further decays."""
        return tuple(self.decays.values())[1:]

    @property
    def evaluates(self) -> str:
        """The variant that validation, test and predict are configured to use."""
        return "ema" if self.evaluate_ema_weights_instead else "standard"

    @property
    def updates(self) -> int:
        """Number of updates made; skipped ones not counted."""
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
        """Context in which the module holds the weights of `variant`; afterwards those that it held before.

        It may be used at any moment, also while validation runs with averages. Before the first update all
        variants are the current weights.
        """
        if variant not in self.variants:
            known = ", ".join(self.variants)
            raise ValueError(f"EMACallback.weights: expected one of {known}, got {variant!r}")
        return nullcontext() if self._tracker is None else self._tracker.holding(variant)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the averages of a former run only where they belong to this module, as training left it."""
        self._let_go()
        if not self._belongs_to(trainer, pl_module, stage):
            self._tracker = None
        self._trainer = weakref.ref(trainer)
        self._loaded = None
        self._is_attached = False
        self._has_stepped = False
        # What Lightning saves and restores passes through these methods, whenever and for whatever reason.
        strategy: Any = trainer.strategy
        strategy.load_checkpoint = partial(self._load_checkpoint, strategy)
        strategy.lightning_module_state_dict = partial(self._raw_state_dict, strategy)
        strategy.save_checkpoint = partial(self._save_checkpoint, strategy)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the averages, or go on with them, and watch the optimizers from here on."""
        self._attach(trainer, pl_module)
        if self._tracker is None:
            self._tracker = self._new_tracker(trainer, pl_module)
        self._skips_before = self.skipped_updates
        self._watch(trainer)
        planned = (trainer.estimated_stepping_batches - self.start_step) / self.apply_every_n_steps
        if (
            isinstance(self.decay, float)
            and not self.warmup
            and (advice := too_long_for(self.decay, planned))
        ):
            rank_zero_warn(f"EMA: {advice}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Account for the last optimizer step of the batch, once everything has finished with the weights."""
        if not self._optimizer_hooks and self._tracker is not None:
            self._has_stepped = trainer.global_step > self._tracker.steps
        self._account()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The module keeps its raw weights; every process has the same averages."""
        self._synchronise(trainer)
        if trainer.global_step > 0 and self._tracker is not None and self._tracker.steps == 0:
            rank_zero_warn("EMA: no optimizer step was seen, so that the averages are the initial weights")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the averages in."""
        self._start_evaluation(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log how far the averages are from the raw weights."""
        if trainer.sanity_checking or self._tracker is None:
            return
        scalars = {
            f"{name}/{scalar}": value
            for name in self.decays
            for scalar, value in self._tracker.scalars(name).items()
        }
        scalars["ema/skipped_updates"] = float(self.skipped_updates)
        # A step that the device skipped is known only now, where the device is waited for anyway.
        self._warn_of_skips(self.skipped_updates)
        # Raw batch statistics differ between the ranks of DDP: those of the first count, as they do in its files.
        scalars = trainer.strategy.broadcast(scalars)
        for key, value in scalars.items():
            pl_module.log(key, value, sync_dist=trainer.world_size > 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the averages out."""
        self._evaluation.close()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the averages in."""
        self._start_evaluation(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the averages out."""
        self._evaluation.close()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the averages in."""
        self._start_evaluation(trainer, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the averages out."""
        self._evaluation.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Whatever happened, the module gets its raw weights back."""
        self._let_go()
        self._writes = count_writes(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the module with its raw weights and remember how it was left."""
        self._let_go()
        self._writes = count_writes(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, in plain types: nothing in it changes afterwards."""
        if self._tracker is None:
            return dict(self._loaded or {})
        self._account()
        return self._tracker.state_dict(with_weights=self.save_ema_weights_in_callback_state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint; the averages move in once the module is where it will run."""
        self._loaded = dict(state_dict)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take over the averages of other EMA callbacks: DepthDif's, NeMo's, Lightning's WeightAveraging."""
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
        plain = type(strategy).lightning_module_state_dict
        if self._tracker is None:
            return plain(strategy)
        with self._tracker.holding("standard"):
            return captured(plain(strategy), whole=False)

    def _save_checkpoint(
        self, strategy: Strategy, checkpoint: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        # With save_weights_only Lightning asks no callback for its state, so the averages join here.
        if "callbacks" not in checkpoint and (state := self.state_dict()).get("ema_weights"):
            checkpoint["callbacks"] = {self.state_key: state}
        type(strategy).save_checkpoint(strategy, checkpoint, *args, **kwargs)

    def _watch(self, trainer: Trainer) -> None:
        """See every optimizer step, also where a batch has several. Those that AMP skips are none."""
        for optimizer in trainer.optimizers:
            if not isinstance(optimizer, torch.optim.Optimizer):
                continue
            # The weights of a step count as they are when the next begins, or the batch ends: the module
            # may still clip or project them.
            before = optimizer.register_step_pre_hook(lambda *_: self._account())
            after = optimizer.register_step_post_hook(lambda *_: self._note_step())
            self._optimizer_hooks += [before, after]

    def _note_step(self) -> None:
        self._has_stepped = True

    def _account(self) -> None:
        """Let the averages follow an optimizer step that was made, if there is one."""
        if not self._has_stepped or self._tracker is None:
            return
        self._has_stepped = False
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

    def _belongs_to(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> bool:
        """Whether the averages of a former run are those of this module, as that run left it."""
        if self._tracker is None or not self._tracker.averages.follows(pl_module):
            return False
        if count_writes(pl_module) != self._writes:
            rank_zero_warn("EMA: the weights were changed since the last run; its averages are left out")
            return False
        return stage != "fit" or (self._trainer is not None and self._trainer() is trainer)

    def _new_tracker(self, trainer: Trainer, pl_module: LightningModule) -> Tracker:
        try:
            return Tracker(
                pl_module,
                self.decays,
                apply_every_n_steps=self.apply_every_n_steps,
                start_step=self.start_step,
                warmup=self.warmup,
                steps=trainer.global_step,
            )
        except ValueError as error:
            raise EMAConfigurationError(str(error)) from error

    def _attach(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move loaded averages in, once a run, when the module is whole and on its device."""
        if self._is_attached:
            return
        self._is_attached = True
        loaded, self._loaded = self._loaded, None
        if loaded is not None and loaded.get("ema_weights") is not None:
            self._tracker = self._new_tracker(trainer, pl_module)
            try:
                remarks = self._tracker.load_state_dict(loaded)
            except ValueError as error:
                raise EMAConfigurationError(str(error)) from error
            for remark in remarks:
                rank_zero_warn(f"EMA: {trainer.ckpt_path}: {remark}")
        elif trainer.ckpt_path is not None:
            self._tracker = None
            if trainer.state.fn == "fit":
                rank_zero_warn(f"EMA: no averages in {trainer.ckpt_path}; they restart from its raw weights")
            elif self.evaluate_ema_weights_instead:
                rank_zero_info(f"EMA: no averages in {trainer.ckpt_path}; evaluating its standard weights")

    def _start_evaluation(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._attach(trainer, pl_module)
        if self._tracker is not None:
            self._synchronise(trainer)
            self._evaluation.enter_context(self._tracker.holding(self.evaluates))

    def _synchronise(self, trainer: Trainer) -> None:
        replicated = isinstance(trainer.strategy, DDPStrategy | ModelParallelStrategy)
        if replicated and trainer.world_size > 1 and self._tracker is not None:
            self._tracker.averages.broadcast_buffers()

    def _let_go(self) -> None:
        self._evaluation.close()
        if self._tracker is not None:
            self._tracker.averages.release()
        for hook in self._optimizer_hooks:
            hook.remove()
        self._optimizer_hooks = []


def _check_decays(decay: Any, extra_decays: Any) -> None:
    expected = (
        f"a number with 0 <= decay <= 1, or a relative width such as width_0.05, up to width_{WIDEST:.4f}"
    )
    _expect(is_decay(decay), "decay", decay, expected, "0.999")
    is_list = isinstance(extra_decays, Sequence) and not isinstance(extra_decays, str)
    are_decays = is_list and all(map(is_decay, extra_decays))
    all_differ = are_decays and len({*map(parse_decay, (decay, *extra_decays))}) == 1 + len(extra_decays)
    expected = f"all different and none of them model.ema.decay, each {expected}"
    _expect(all_differ, "extra_decays", extra_decays, expected, "[0.99,0.999]")


def _expect(holds: bool, field: str, value: Any, expected: str, example: str) -> None:
    if not holds:
        hint = f"set model.ema.{field}={example}"
        raise ValueError(f"EMACallback: {field}: expected {expected}, got {value!r}; {hint}")
