"""Scores as pure functions of arrays, and their names. Nothing is imported here."""
