"""`python -m training.fnet --help`; `--ndim 3` for stacks."""

import os
import sys

from training.common.command import main
from training.fnet.trainer import FnetTrainer

if __name__ == "__main__":
    # Threads that spin while they wait make a machine that others use ten times slower. Read when
    # torch is loaded, which happens after this line.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main([FnetTrainer(2), FnetTrainer(3)], sys.argv[1:]))
