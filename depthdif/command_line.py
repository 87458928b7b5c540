"""What the scripts share: errors that a user can correct are printed in one line.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from depthdif.terminal import lines_about

FULL_ERROR = "HYDRA_FULL_ERROR"


@contextmanager
def readable_errors(config_name: str) -> Iterator[None]:
    """Print an error that a user can mend in one line and exit with 1; HYDRA_FULL_ERROR=1 shows the traceback instead.

    `config_name` is the root config of the script, in `conf/`: its keys are what a mistyped one is compared with.

    Bad input raises ValueError or OSError, and TypeError from a constructor that does not know an argument. All other
    errors are our own mistakes and keep their traceback.
    """
    in_full = os.environ.get(FULL_ERROR, "0") != "0"
    # Else Hydra prints its own account and exits before the error gets here.
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        lines = lines_about(error, config_name)
        if in_full or not lines:
            raise
        print("\n".join([*lines, f"({FULL_ERROR}=1 shows where)"]), file=sys.stderr)
        sys.exit(1)
