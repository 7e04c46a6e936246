"""`python -m training.unet --help`; `--ndim 3` for stacks."""

import os
import sys

from training.common.command import main
from training.unet.trainer import UNetTrainer

if __name__ == "__main__":
    # Threads that spin while they wait make a machine that others use ten times slower. Read when
    # torch is loaded, which happens after this line.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main([UNetTrainer(2), UNetTrainer(3)], sys.argv[1:]))
