"""What holds for all tests, those of the plugins included."""

import signal

import pytest

# In the background of a shell SIGINT is ignored, and children inherit that; tests stop them by it, as Ctrl-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TOGETHER = "tests/e2e/"  # its files share one run of the tiny suite


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of one file, and all end to end tests, run in one process: they share what is built."""
    for item in items:
        group = TOGETHER if item.nodeid.startswith(TOGETHER) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
