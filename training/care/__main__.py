"""`python -m training.care --help`; `--ndim 3` for stacks."""

import os
import sys
import warnings

from training.care.trainer import CareTrainer
from training.common.command import main

if __name__ == "__main__":
    # TensorFlow reads this once, when it is imported, which happens after this line.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", module="(csbdeep|keras|tensorflow)")
    sys.exit(main([CareTrainer(2), CareTrainer(3)], sys.argv[1:]))
