"""The logger of a run's messages, and which process shows them.

LOG.info is for the user, LOG.warning for what she should look at. Both are printed as they are; the run folder adds a
handler that keeps them in log/run.log (affect/runs/lifecycle.py). A process that follows another one drops what is not
a warning, since the first one says the same.
"""

import contextlib
import logging
import os

LOG = logging.getLogger("affect")

FOLLOWED = "AFFECT_FOLLOWED_RUN"
"""Environment variable with the run folder of the process that this one follows (affect/training/distributed.py)."""


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return FOLLOWED not in os.environ


class Printed(logging.Handler):
    """Prints messages without level or time. Errors are left out: they end the program, which prints them."""

    def emit(self, record: logging.LogRecord) -> None:
        # Where nobody can read it any more, it is in the log of the run alone.
        if record.levelno < logging.ERROR:
            with contextlib.suppress(OSError):
                print(self.format(record), flush=True)


def _is_for_this_process(record: logging.LogRecord) -> bool:
    return is_first() or record.levelno >= logging.WARNING


LOG.setLevel(logging.INFO)
LOG.propagate = False  # the handlers of others would print it once more
LOG.addFilter(_is_for_this_process)
LOG.addHandler(Printed())
