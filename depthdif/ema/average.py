"""The exponential moving average over arrays by name: slow and simple, the reference of the tests."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np
import torch

Array = np.ndarray | torch.Tensor


class UnregisteredNameError(KeyError, ValueError):
    """A name that was never passed to `EMA.register`."""

    def __str__(self) -> str:
        return str(self.args[0])


class EMA:
    """Exponential moving average of arrays by name: `shadow = shadow + (1 - decay) * (current - shadow)`.

    Floating and complex arrays are averaged, in float32 where they are half precision; all others are
    copied, and so are floating arrays that hold a NaN or an infinity when they are registered (a mask of
    -inf). An update in which any averaged array is not finite is skipped as a whole and counted in
    `skipped_updates`.

    The `lerp` form has an exact fixed point; `decay * shadow + (1 - decay) * current` drifts by rounding.

    Args:
        decay: share of the old average kept by an update, from 0 (no memory) to 1 (frozen).

    Attributes:
        shadow_params: the averages by name; NumPy or torch as registered.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 <= decay <= 1:
            raise ValueError(f"EMA decay: expected a number from 0 to 1, got {decay!r}; set EMA(decay=0.999)")
        self.decay = float(decay)
        self.shadow_params: dict[str, Any] = {}
        self.skipped_updates = 0
        self._averaged: set[str] = set()

    def register(self, params: Mapping[str, Array]) -> None:
        """Start averaging: the shadow of each entry becomes a copy of it."""
        for name, current in params.items():
            is_inexact = "float" in str(current.dtype) or "complex" in str(current.dtype)
            self.shadow_params[name] = _copy(current)
            self._averaged.discard(name)
            if is_inexact and _is_finite(current):
                self._averaged.add(name)
                if current.dtype in (torch.float16, torch.bfloat16, np.float16):
                    shadow = self.shadow_params[name]
                    is_torch = isinstance(shadow, torch.Tensor)
                    self.shadow_params[name] = shadow.float() if is_torch else shadow.astype(np.float32)

    def update(self, params: Mapping[str, Array]) -> None:
        """Move the shadow of each entry towards it, after an optimizer step.

        Raises:
            ValueError: a name was never registered, or a shape differs from the registered one.
        """
        self._check(params)
        if not all(_is_finite(current) for name, current in params.items() if name in self._averaged):
            self.skipped_updates += 1
            return
        for name, current in params.items():
            shadow = self.shadow_params[name]
            if name not in self._averaged:
                self.shadow_params[name] = _copy(current)
            elif isinstance(shadow, torch.Tensor):
                tensor = torch.as_tensor(current).detach().to(shadow.device, shadow.dtype)
                shadow.lerp_(tensor, 1 - self.decay)
            else:
                # The formula of torch.lerp: exact at both ends, and where both are equal.
                array, weight = np.asarray(current, shadow.dtype), 1 - self.decay
                near, rest = (shadow, weight) if weight < 0.5 else (array, weight - 1)
                self.shadow_params[name] = near + rest * (array - shadow)

    def get_params(self) -> dict[str, Any]:
        """Copies of the averages by name."""
        return {name: _copy(shadow) for name, shadow in self.shadow_params.items()}

    def apply_shadow(self, params: MutableMapping[str, Any]) -> dict[str, Any]:
        """Replace the entries of `params` by copies of the shadow, in their own dtype and device.

        Returns:
            The entries as they were: the backup that `restore` takes.
        """
        self._check(params)
        backup = dict(params)
        for name, current in backup.items():
            shadow = self.shadow_params[name]
            if isinstance(current, torch.Tensor):
                params[name] = torch.as_tensor(shadow).to(current.device, current.dtype, copy=True)
            else:
                params[name] = np.array(shadow, dtype=current.dtype)
        return backup

    def restore(self, params: MutableMapping[str, Any], backup: Mapping[str, Any]) -> None:
        """Put the entries of `backup` back into `params`."""
        self._check(backup)
        params.update(backup)

    def _check(self, params: Mapping[str, Array]) -> None:
        unknown = sorted(set(params) - set(self.shadow_params))
        if unknown:
            raise UnregisteredNameError(
                f"EMA: never registered: {', '.join(map(repr, unknown[:5]))}; register(params) comes first"
            )
        for name, current in params.items():
            if tuple(current.shape) != tuple(self.shadow_params[name].shape):
                raise ValueError(
                    f"EMA: {name!r} was registered with shape {tuple(self.shadow_params[name].shape)}, "
                    f"got {tuple(current.shape)}; call register(params) again"
                )


def _is_finite(array: Array) -> bool:
    return bool((torch if isinstance(array, torch.Tensor) else np).isfinite(array).all())


def _copy(array: Any) -> Any:
    return array.detach().clone() if isinstance(array, torch.Tensor) else np.array(array)
