"""A run on several devices: the first process starts the others, which follow it through the same code.

The others take their configuration from the run folder, so they need neither the words of the command line nor, in a
multirun, to know which job they belong to; they write nothing but a log of their own.
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from torch import distributed

from affect.config import Config
from affect.lifetime import FOLLOWED, is_first
from affect.run import program_of

PROGRAMS = Path(__file__).resolve().parent.parent
"""Folder of train.py and evaluate.py."""

PATIENCE = 20.0
"""Seconds the other processes are given to end by themselves."""


@contextlib.contextmanager
def spread(cfg: Config, folder: Path) -> Iterator[None]:
    """Runs the block in trainer.devices processes."""
    if cfg.trainer.devices == 1 or not is_first():
        yield
        return
    own = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(cfg.trainer.devices),
        "LOCAL_RANK": "0",
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    (folder / "log").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        others = []
        for rank in range(1, cfg.trainer.devices):
            log = stack.enter_context((folder / "log" / f"process_{rank}.log").open("a", encoding="utf-8"))
            others.append(
                subprocess.Popen(
                    [sys.executable, str(PROGRAMS / f"{program_of(folder)}.py")],
                    env=os.environ | {"LOCAL_RANK": str(rank), FOLLOWED: str(folder.resolve())},
                    stdout=log,
                    stderr=log,
                    # Ctrl-C in a terminal goes to all processes of its group: it is the first that decides what it
                    # means.
                    start_new_session=True,
                )
            )
        try:
            yield
        finally:
            # In this order: one that waits for us would wait in vain.
            if distributed.is_initialized():
                distributed.destroy_process_group()
            for process in others:
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)  # Lightning takes some of them away itself
                else:
                    os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
