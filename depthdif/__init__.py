"""Conditional diffusion for dense ocean depth fields from sparse profiles."""

EARTH_RADIUS = 6371.0
"""Mean radius of the Earth, km."""

DAYS_PER_YEAR = 365.25
"""Mean length of a year of the Julian calendar."""


class UserError(ValueError):
    """An error that the user can correct: the scripts print its message in one line, without a traceback.

    The message says what was given, what was expected, and which key to set.
    """
