"""What holds for all tests, those of the plugins included."""

import signal
from typing import Any

import pytest

# In the background of a shell SIGINT is ignored, and children inherit that; tests stop them by it, as Ctrl-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TOGETHER = "tests/e2e/"  # its files share one run of the tiny suite


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several processes one takes a whole file, and one all end to end tests: they share what is built."""
    from xdist.scheduler import LoadFileScheduling

    class Sharing(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER if nodeid.startswith(TOGETHER) else nodeid.partition("::")[0]

    return Sharing(config, log)
