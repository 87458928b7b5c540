"""The schedule of averages: at each optimizer step they are seeded, updated, or neither; and their saved state."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from depthdif.ema.decay import Decay, PowerDecay, decay_label, effective_decay, format_decay, parse_decay
from depthdif.ema.slots import captured
from depthdif.ema.weights import ModuleAverages


class Tracker:
    """The averages of a module by variant, updated step by step.

    Before `start_step` the averages follow the weights; the step before it seeds them, and from
    `start_step` on every n-th optimizer step updates them. Step 0 is the weights before any step.

    Args:
        module, decays, apply_every_n_steps, start_step, warmup: as in `EMACallback`.
        steps: number of optimizer steps that were made already.
    """

    def __init__(
        self,
        module: nn.Module,
        decays: Mapping[str, Decay],
        apply_every_n_steps: int,
        start_step: int,
        warmup: bool,
        steps: int,
    ) -> None:
        self.decays = decays
        self.averages = ModuleAverages(module, tuple(decays.values()))
        self.steps = steps
        self._every = apply_every_n_steps
        self._start = start_step
        self._warmup = warmup
        self._is_seeded = False
        self._seed_before_start()

    @property
    def updates(self) -> int:
        """Number of updates made, without skipped ones."""
        return self.averages.attempted_updates - self.averages.skipped_updates

    def step(self) -> None:
        """Account for one optimizer step, after it was made."""
        self.steps += 1
        if not self._is_seeded:
            self._seed_before_start()
        elif self.steps >= self._start and self.steps % self._every == 0:
            self.averages.update(self._warmup)

    def holding(self, variant: str) -> AbstractContextManager[None]:
        """Context in which the module holds the weights of a variant: before the first update, the current ones."""
        is_average = variant != "standard" and self.updates > 0
        return self.averages.holding(self.decays[variant] if is_average else None)

    def state(self, variant: str) -> dict[str, Tensor]:
        """One average by `state_dict` key, not copied; before the start it equals the raw weights."""
        if self._is_seeded:
            return self.averages.state(self.decays[variant])
        with self.averages.holding(None):
            return self.averages.current_state()

    def scalars(self) -> dict[str, float]:
        """What to log, by key: `decay` (or `relative_width`), `effective_decay` of the last update, and `distance`."""
        if not self._is_seeded:
            self.averages.seed()
        scalars = {"ema/skipped_updates": float(self.averages.skipped_updates)}
        for variant, decay in self.decays.items():
            values = {"relative_width": decay.width} if isinstance(decay, PowerDecay) else {"decay": decay}
            last = effective_decay(decay, max(self.averages.attempted_updates - 1, 0), self._warmup)
            values |= {"effective_decay": last, **self.averages.distance(decay)}
            scalars |= {f"{variant}/{name}": value for name, value in values.items()}
        return scalars

    def state_dict(self, with_weights: bool) -> dict[str, Any]:
        """All that a resumed run needs, in plain types and copies."""
        state: dict[str, Any] = {
            "decay": format_decay(self.decays["ema"]),
            "steps": self.steps,
            "updates": self.updates,
            "skipped_updates": self.averages.skipped_updates,
            "is_seeded": self._is_seeded,
        }
        if with_weights:
            weights = {variant: captured(self.state(variant)) for variant in self.decays}
            state["ema_weights"] = weights.pop("ema")
            state["extra_ema_weights"] = weights
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Continue from a saved state, also that of another EMA callback; returns warnings, one line each."""
        self.steps = int(state.get("steps", self.steps))
        self._is_seeded = bool(state.get("is_seeded", True))
        self.averages.skipped_updates = int(state.get("skipped_updates", 0))
        self.averages.attempted_updates = int(state.get("updates", 1)) + self.averages.skipped_updates
        if not self._is_seeded:
            self._seed_before_start()
            return []
        saved_decay = parse_decay(state.get("decay", self.decays["ema"]))
        saved = {parse_decay(name): weights for name, weights in state.get("extra_ema_weights", {}).items()}
        saved[saved_decay] = state["ema_weights"]
        warnings = []
        for variant, decay in self.decays.items():
            if decay not in saved:
                warnings.append(
                    f"{variant}: {decay_label(decay)} from here on; it continues from the saved average of {saved_decay}"
                )
            missing = self.averages.load(decay, saved.get(decay, saved[saved_decay]))
            if missing:
                warnings.append(
                    f"{variant}: no saved average of {', '.join(missing[:5])}; it starts from the raw weights"
                )
        return warnings

    def _seed_before_start(self) -> None:
        if self.steps >= self._start - 1:
            self._is_seeded = self.averages.seed()
