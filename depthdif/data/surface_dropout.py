"""Surface variables that are missing: at random in training, so that one model serves with and without, or in validation."""

from __future__ import annotations

from collections.abc import Sequence

from depthdif import UserError


def dropout_of(surface: Sequence[str], setting: float | Sequence[float]) -> dict[str, float]:
    """The probability of each surface variable to be missing in a training sample.

    Raises:
        UserError: a probability outside 0 to below 1, or not as many as surface variables.
    """
    numbers = [float(number) for number in (setting if isinstance(setting, Sequence) else [setting])]
    if not all(0 <= number < 1 for number in numbers):
        raise UserError(
            f"data.surface_dropout={setting}; expected probabilities from 0 to below 1, such as data.surface_dropout=0.3"
        )
    if not isinstance(setting, Sequence):
        return dict.fromkeys(surface, numbers[0])
    if len(numbers) != len(surface):
        raise UserError(
            f"data.surface_dropout={numbers} for the surface variables {', '.join(surface) or 'none'}; expected one number, or "
            "one for each of data.surface"
        )
    return dict(zip(surface, numbers, strict=True))


def check_missing(surface: Sequence[str], missing: Sequence[str]) -> tuple[str, ...]:
    """The surface variables that validation lacks; UserError for one that the data do not have."""
    if unknown := [name for name in missing if name not in surface]:
        raise UserError(
            f"data.surface_missing=[{','.join(unknown)}]; expected surface variables of the data: {', '.join(surface) or 'none'}"
        )
    return tuple(missing)
