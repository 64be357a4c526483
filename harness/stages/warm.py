"""What every worker needs, imported once: workers are forked from a process that has run nothing but this."""

import os

from harness.store.workers import ONE_THREAD

os.environ.update(ONE_THREAD)  # the libraries read it when they are loaded

import numpy  # noqa: F401
import pyarrow.parquet  # noqa: F401
import scipy.special  # noqa: F401
import torch  # noqa: F401

import harness.stages.evaluate
import harness.stages.fit
import harness.stages.generate
import harness.stages.phases
import harness.stages.protocol
import harness.stages.train  # noqa: F401
