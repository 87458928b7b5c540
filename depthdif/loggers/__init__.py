"""Loggers of scalars."""
