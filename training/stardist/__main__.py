"""`python -m training.stardist --help`; `--ndim 3` for stacks."""

import os
import sys
import warnings

from training.common.command import main
from training.stardist.trainer import StarDistTrainer

if __name__ == "__main__":
    # TensorFlow reads this once, when it is imported, which happens after this line.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", module="(csbdeep|stardist|keras|tensorflow)")
    sys.exit(main([StarDistTrainer(2), StarDistTrainer(3)], sys.argv[1:]))
