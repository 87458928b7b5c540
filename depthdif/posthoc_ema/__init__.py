"""EMA weights of any width from the snapshots of a finished run."""
