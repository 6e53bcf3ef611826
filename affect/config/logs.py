"""What a run tells its user, and which process tells it."""

import contextlib
import logging
import os

LOG = logging.getLogger("affect")

FOLLOWED = "AFFECT_FOLLOWED_RUN"
"""Environment variable with the run folder of the process that this one follows (affect/training/distributed.py)."""


def say(text: str) -> None:
    """Prints a line and keeps it in the run's log. Where nobody can read it any more it is in the log alone."""
    with contextlib.suppress(OSError):
        print(text, flush=True)
    LOG.info(text)


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return FOLLOWED not in os.environ
