"""StarDist: objects learnt from labels. Needs the environment of its requirements."""
