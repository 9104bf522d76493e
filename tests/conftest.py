"""What holds for all tests."""

from __future__ import annotations

import signal

# A script's job in the background ignores Ctrl-C, and so would every process that the tests begin and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
