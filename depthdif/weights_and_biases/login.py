"""Whether this machine is logged in to W&B; nothing heavy is imported here."""

from __future__ import annotations

import logging
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

log = logging.getLogger(__name__)


def has_api_key(base_url: str) -> bool:
    """Whether the environment or the netrc file has a W&B key for `base_url`; no network is used."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc_file = os.environ.get("NETRC")
    candidates = [Path(netrc_file)] if netrc_file else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for path in candidates:
        if path.is_file():
            try:
                return netrc.netrc(path).authenticators(urlsplit(base_url).hostname or "") is not None
            except netrc.NetrcParseError as error:
                log.warning(
                    "W&B: %s cannot be read as a netrc file (%s): going on without a key", path, error
                )
    return False
