"""From profiles to an ocean: prediction of a whole domain at any time with a trained model."""
