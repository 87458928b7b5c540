"""Judging reconstructions: metrics over the ocean, figures, panels of each weight state, the closing table."""
