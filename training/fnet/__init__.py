"""fnet 2D and 3D: fluorescence predicted from transmitted light, learnt from pairs."""
