"""Checkpoints: opening a trained run, resuming one, and which classes a checkpoint may name."""
