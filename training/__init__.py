"""The trainers: applications that are run from the checkout or an image, one per model family.

`training.common` is shared and imports no framework; each family's folder has its own
pinned requirements and its own environment.
"""
