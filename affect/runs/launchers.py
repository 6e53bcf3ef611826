"""What starts the jobs of a multirun: Hydra itself, one by one, or a plugin (conf/launcher) in processes of their own,
on this machine or on others. What can be known to go wrong there is refused before the first job."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from affect.config import ConfigError
from affect.config.groups import PACKAGE
from affect.runs.sweep_points import quoted

ANSWER_WITHIN = 3.0
"""Seconds that the head of a Ray cluster has to take a connection."""


def in_other_processes(hydra: DictConfig) -> bool:
    """Whether the jobs run outside of the process that Hydra was started in. `hydra` is Hydra's configuration."""
    return not hydra.launcher._target_.endswith(".BasicLauncher")


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


def prepare(folder: Path) -> list[str]:
    """Words for Hydra beside those of the command line, so that jobs in other processes find the multirun's folder and
    this code."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    return [f"hydra.sweep.dir={quoted(str(folder.absolute()))}"]
