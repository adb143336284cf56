"""What a process says of itself."""

import subprocess
import sys

import numpy as np

TELL = "from lightning_mri.origin import peak_memory; print(peak_memory())"


def test_the_memory_of_a_process_is_not_that_of_the_one_that_started_it():
    held = np.ones(2**26)  # 0.5 GiB
    done = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True)
    assert held.size
    assert 0.001 < float(done.stdout) < 0.4


def test_the_largest_memory_counts_when_it_has_been_given_back():
    code = "import numpy as np; held = np.ones(2**26); del held; " + TELL
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.5 < float(done.stdout) < 0.8
