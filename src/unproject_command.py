"""The console script. Outside of the package, whose import takes seconds: until it is there, Ctrl-C ends the command at once."""

import os
import signal
from types import FrameType


def entry() -> None:
    """Run the `unproject` command."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so under nohup
    if usual:
        signal.signal(signal.SIGINT, _leave)
    from unproject.cli.main import entry as run

    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"unproject: interrupted\n")
    os._exit(130)
