"""micserve: deep learning for microscopy, served on an imaging facility's own machines.

The library knows images, tiles, model families, model packages and quality
control. It does not know how to train: trainers are applications in
`training/`, services are applications in `services/`.
"""

__version__ = "0.1.0"
