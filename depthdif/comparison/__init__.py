"""Comparing finished and unfinished runs from their folders: scores, distances, panels, settings, and which weights are best."""
