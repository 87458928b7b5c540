"""Conditional diffusion for dense ocean depth fields from sparse profiles."""
