from __future__ import annotations

import pytest
from hydra.errors import InstantiationException
from omegaconf.errors import ConfigAttributeError

from depthdif import UserError
from depthdif.sweep.callback import failure_reason


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("decay is 2:\n expected\tless"), "decay is 2: expected less"),
        (ValueError("too many values to unpack"), "ValueError: too many values to unpack"),
        (FileNotFoundError("no such file"), "no such file"),
        (caused(InstantiationException("Error in call"), ValueError("decay is 2")), "decay is 2"),
        (
            caused(InstantiationException("Error in call"), ZeroDivisionError("by zero")),
            "ZeroDivisionError: by zero",
        ),
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
        (AssertionError(), "AssertionError: AssertionError"),
        (ConfigAttributeError("Key 'decya' is not in struct"), "Key 'decya' is not in struct"),
    ],
)
def test_the_reason_of_a_failure_is_one_line(error: Exception, reason: str) -> None:
    assert failure_reason(error) == reason
