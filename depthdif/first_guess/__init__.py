"""First guesses of a dense field from profiles: inverse distance weighting and optimal interpolation."""
