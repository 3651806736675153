"""Tests compute with one thread: those of several processes on shared cores spin for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
