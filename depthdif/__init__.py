"""Conditional diffusion for dense ocean depth fields from sparse profiles."""

from typing import Any

EARTH_RADIUS = 6371.0  # km, mean
DAYS_PER_YEAR = 365.25  # mean of the Julian calendar


class UserError(ValueError):
    """An error that the user can correct: the scripts print its message in one line, without a traceback.

    The message states the value, what was expected, and which key to set.
    """


def check_integer(key: str, value: Any, least: int) -> None:
    """Raise UserError for a value of the config key that is not an integer of at least `least`."""
    if not isinstance(value, int) or value < least:
        raise UserError(f"{key}={value}; expected an integer of at least {least}, such as {key}={least}")
