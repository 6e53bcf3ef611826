"""What starts the jobs of a multirun: Hydra itself, one by one, or a plugin (conf/launcher) in processes of their own,
on this machine or on others. What can be known to go wrong there is refused before the first job."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from affect.config import ConfigError
from affect.config.groups import PACKAGE
from affect.config.launch import ProcessDied
from affect.runs.lifecycle import Stopped

PATIENCE = 600.0
"""Seconds that a job which SLURM has asked to end waits for its end."""

ANSWER_WITHIN = 3.0
"""Seconds that the head of a Ray cluster has to take a connection."""


def check(hydra: DictConfig) -> None:
    """Raises ConfigError for a launcher that cannot start its jobs from here."""
    chosen = hydra.runtime.choices.get("launcher") or hydra.runtime.choices["hydra/launcher"]
    launcher: dict[str, Any] = OmegaConf.to_container(hydra.launcher, resolve=False)
    if launcher.get("tasks_per_node", 1) != 1 or launcher.get("nodes", 1) != 1:
        raise ConfigError(
            f"hydra.launcher.nodes={launcher['nodes']} and hydra.launcher.tasks_per_node={launcher['tasks_per_node']}"
            " would run every job several times: leave both at 1, and for several GPUs a job give"
            " hydra.launcher.gpus_per_node and trainer.devices"
        )
    if launcher["_target_"].endswith(".SlurmLauncher"):
        missing = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
        if missing:
            raise ConfigError(
                f"launcher={chosen} hands the jobs to SLURM, and this machine has no {' and no '.join(missing)}: start"
                " the command where SLURM is, on a login node, or take launcher=slurm_local, joblib or local_gpus"
            )
    if "ray" in launcher:
        _check_ray(chosen, launcher["ray"])


def _check_ray(chosen: str, ray: dict[str, Any]) -> None:
    address = str(ray["init"].get("address") or "local")
    if ":" in address:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER_WITHIN).close()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"hydra.launcher.ray.init.address={address}: no Ray cluster answers there ({error}): start one with"
                " `ray start --head`, correct the address, or take launcher=ray for a cluster of this machine alone"
            ) from error
    elif address == "local" and (a_job := ray["remote"].get("num_gpus") or 0) > 0:
        asked, found = ray["init"].get("num_gpus"), gpus()
        if found < (asked or a_job):
            wanted = f"{asked} GPUs (hydra.launcher.ray.init.num_gpus)" if asked else f"{a_job:g} a job"
            remedy = "give as many or fewer" if found else "take launcher=joblib or ray, which need none"
            raise ConfigError(f"launcher={chosen} wants {wanted}, and this machine shows {found or 'none'}: {remedy}")


def gpus() -> int:
    """Number of NVIDIA GPUs that this process may use, as nvidia-smi and CUDA_VISIBLE_DEVICES say; torch, which would
    say it too, takes seconds to import."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        out = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return 0
    count = sum(line.startswith("GPU ") for line in out.stdout.splitlines())
    return count if visible is None else min(count, len([part for part in visible.split(",") if part.strip()]))


# ---------------------------------------------------------------- in the process of a job


class Home:
    """Where the multirun was started: what its jobs need of it in other processes, on whatever machine."""

    def __init__(self) -> None:
        self.pid, self.host, self.folder = os.getpid(), socket.gethostname(), os.getcwd()
        self.environment = {name: value for name, value in os.environ.items() if name.startswith("AFFECT_")}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Makes this process that of a job. One that submitit has started is put into the queue again when it was asked
        to stop, after the run has saved its state. Raises JobStopped where it was stopped otherwise."""
        if (os.getpid(), socket.gethostname()) == (self.pid, self.host):
            yield
            return
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)  # a machine may have its own
        with contextlib.suppress(OSError):  # the working directory need not be there; paths that are not absolute do
            os.chdir(self.folder)
        try:
            yield
        except Stopped as stopped:
            queue = os.environ.get("SUBMITIT_EXECUTOR")
            if queue is not None and stopped.signum == signal.SIGUSR2:
                # The run has given the signal back to submitit, whose handler queues the job and ends the process.
                signal.raise_signal(signal.SIGUSR2)
            if queue == "slurm" and stopped.signum == signal.SIGTERM:
                # A job that is pre-empted is queued again only where it has not ended by itself. USR2 may still come.
                print(f"{stopped.folder} has saved its state and waits for SLURM to end it.", flush=True)
                time.sleep(PATIENCE)
            raise JobStopped(f"stopped by {stopped}: {stopped.folder}") from None


class JobStopped(Exception):
    """Raised in place of Stopped to a launcher, which could not hand that on to its own process."""


# ---------------------------------------------------------------- in the process that starts them


def started(start: Callable[[], None], folder: Path) -> None:
    """Calls `start`, which has a launcher run the jobs of the multirun in `folder`, so that they find this code.

    Raises ProcessDied where the launcher gives up.
    """
    try:
        with _environment_of_jobs():
            start()
    except JobStopped:
        return  # the table says so
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("joblib", "submitit", "ray"):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["without a word"]
        why = next((line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)), lines[0])
        raise ProcessDied(
            f"A launcher gives up when the process of a job ends before its job ({type(error).__name__}: {why}). The"
            f" table has what became of each; start the multirun again with hydra.sweep.dir={folder} for the rest"
        ) from error


@contextlib.contextmanager
def _environment_of_jobs() -> Iterator[None]:
    """Lets Python processes that are started in the block import this code, and not what lies in their working
    directory."""
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "PYTHONSAFEPATH")}
    paths = (before["PYTHONPATH"] or "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, [str(PACKAGE.parent), *paths])))
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
