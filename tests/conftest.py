"""In the background of a shell SIGINT is ignored, and children inherit that; tests stop them by it, as Ctrl-C does."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
