"""`python -m training.n2v --help`; `--ndim 3` for stacks."""

import os
import sys
import warnings

from training.common.command import main
from training.n2v.trainer import Noise2VoidTrainer

if __name__ == "__main__":
    # TensorFlow reads this once, when it is imported, which happens after this line.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", module="(csbdeep|n2v|keras|tensorflow|tf2onnx)")
    sys.exit(main([Noise2VoidTrainer(2), Noise2VoidTrainer(3)], sys.argv[1:]))
