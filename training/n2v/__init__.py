"""Noise2Void: denoising learnt from noisy images alone. Needs the environment of its requirements."""
