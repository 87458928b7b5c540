"""Weights & Biases: logger, summaries, sync commands, workspace."""
