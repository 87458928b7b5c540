"""Figures of reconstructed patches."""
