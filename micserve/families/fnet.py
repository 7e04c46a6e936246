"""fnet 2D and 3D: fluorescence predicted from transmitted light [1].

The network's answer is in the grey values of the stained images that it was
trained on. How bright the stain of another sample would be cannot be seen in
transmitted light, so compare intensities within one prediction only.

References
----------
.. [1] Ounkomol et al. 2018, doi:10.1038/s41592-018-0111-2.
"""

from micserve.families.base import Restoration


class Fnet(Restoration):
    name = "fnet"
    title = "fnet"
    job = "predicts a fluorescent stain from transmitted light images; trained on pairs"
