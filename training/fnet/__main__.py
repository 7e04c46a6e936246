"""`python -m training.fnet --help`; `--ndim 3` for stacks."""

import sys

from training.common.command import main
from training.fnet.trainer import FnetTrainer

if __name__ == "__main__":
    sys.exit(main([FnetTrainer(2), FnetTrainer(3)], sys.argv[1:]))
