"""Which quality flags are good."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Quality:
    """Flags of good values, and of good positions and dates, as Argo numbers them."""

    good: Sequence[int | str] = (1, 2)
    position: Sequence[int | str] = (1, 2, 5, 8)
    delayed_mode_only: bool = False
