"""U-Net 2D and 3D: classes of pixels, learnt from masks that somebody drew."""
