"""A checkpoint as a `diffusers` folder with a model card, and back."""
