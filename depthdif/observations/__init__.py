"""Profiles from files: readers, quality control, conversion, vertical interpolation and gridding."""
