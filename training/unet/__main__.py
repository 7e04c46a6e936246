"""`python -m training.unet --help`; `--ndim 3` for stacks."""

import sys

from training.common.command import main
from training.unet.trainer import UNetTrainer

if __name__ == "__main__":
    sys.exit(main([UNetTrainer(2), UNetTrainer(3)], sys.argv[1:]))
