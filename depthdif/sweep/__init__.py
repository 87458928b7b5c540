"""Sweeps: what becomes of each job of a `--multirun`, whatever process runs it, and the table at the end. Nothing heavy here."""
