"""One training loop in torch for the families whose network is a U-Net: U-Net and fnet.

Knows batches, gradients and export; what is learnt from a pair, and how wrong an
answer is, comes from the family as a `Task`.
"""
