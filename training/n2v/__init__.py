"""Noise2Void: denoising learnt from noisy images alone; runs in the environment of its own."""
