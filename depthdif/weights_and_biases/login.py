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
    candidates = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in candidates):
        if path.is_file():
            try:
                return netrc.netrc(path).authenticators(urlsplit(base_url).hostname or "") is not None
            except netrc.NetrcParseError as error:
                log.warning(
                    "W&B: %s cannot be read as a netrc file (%s): continuing without a key", path, error
                )
    return False
