"""One run of the tiny suite, shared by the tests of this folder."""

import pytest
from suites import run_suite


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The workdir of one whole run with two workers, and what it printed."""
    workdir = tmp_path_factory.mktemp("tiny")
    return workdir, run_suite(workdir, "--workers", "2")
