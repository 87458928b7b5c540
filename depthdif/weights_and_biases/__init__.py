"""Runs in Weights & Biases: logger, summaries, upload commands, workspace."""

STEP = "trainer/global_step"
"""Log key of the optimizer step, the x axis of every chart."""

IMAGES = "val_imgs/"
"""First part of the log keys of images."""
