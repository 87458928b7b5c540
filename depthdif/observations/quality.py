"""Which quality flags are good."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from depthdif import UserError


@dataclasses.dataclass(frozen=True)
class Quality:
    """Flags of good values, and of good positions and dates, as Argo numbers them (reference table 2 of its user manual).

    1 is good, 2 probably good, 5 changed, 8 estimated. A missing flag is never good. Met Office files have 1 for good and 4
    for rejected values.

    Args:
        good: flags of values, pressures and depths that are used.
        position: flags of positions and dates that are used.
        delayed_mode_only: use no profile that was not checked by an operator; a property of Argo files.

    Raises:
        UserError: no flag at all.
    """

    good: Sequence[int | str] = (1, 2)
    position: Sequence[int | str] = (1, 2, 5, 8)
    delayed_mode_only: bool = False

    def __post_init__(self) -> None:
        for name in ("good", "position"):
            if not len(getattr(self, name)):
                raise UserError(f"quality.{name}=[]; expected flags, such as quality.{name}=[1,2]")

    def is_good(self, flags: np.ndarray) -> np.ndarray:
        """Where flags of one character, as bytes, are those of good values."""
        return np.isin(flags, _as_bytes(self.good))

    def is_good_position(self, flags: np.ndarray) -> np.ndarray:
        """Where flags of one character, as bytes, are those of good positions and dates."""
        return np.isin(flags, _as_bytes(self.position))


def _as_bytes(flags: Sequence[int | str]) -> np.ndarray:
    return np.array([str(flag) for flag in flags], dtype="S1")
