"""CARE: restoration learnt from pairs of images. Needs the environment of its requirements."""
