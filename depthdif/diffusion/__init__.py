"""Masked conditional diffusion: denoiser, objective, reverse sampler, and the module that trains them."""
