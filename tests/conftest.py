"""What every test stands on."""

import signal

pytest_plugins = ["tests.servers.fixtures"]


def pytest_configure() -> None:
    """A shell that runs us in the background has told us to ignore Ctrl-C, and our children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
