"""How this process was started, and its rank. Reads environment variables; imports no torch."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from affect.config.errors import ConfigError

PLACE = "AFFECT_PLACE"
"""Environment variable with the place of this process in its run, while the run's processes work together."""


class ProcessDied(Exception):
    """Another process of this run ended before the run did. The message says which one and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which of a run's processes this one is."""

    rank: int = 0
    size: int = 1
    """Processes of the run, on all machines."""
    local_rank: int = 0
    """Number among the processes on this machine."""
    local_size: int = 1
    started_by: str = "affect"
    store: str = ""
    """host:port where the processes find each other."""

    def as_variable(self) -> str:
        return json.dumps(asdict(self))


def place() -> Place:
    """The place of this process: alone, unless affect.training.distributed has set it."""
    return Place(**json.loads(os.environ.get(PLACE, "{}")))


def cores() -> int:
    """Cores of this machine for each of the run's processes on it. SLURM may have bound each to its own already."""
    here = place()
    if here.started_by == "srun" and "SLURM_CPUS_PER_TASK" in os.environ:
        return int(os.environ["SLURM_CPUS_PER_TASK"])
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if here.started_by == "srun":
        return max(1, min(bound, (os.cpu_count() or 1) // here.local_size))
    return max(1, bound // here.local_size)


def given(env: Mapping[str, str] = os.environ) -> Place | None:
    """The place that srun or torchrun gave this process; None where it was started alone.

    torchrun (and whatever sets the same variables) is asked first, since it is often started by srun, once a node.
    SLURM sets SLURM_PROCID and SLURM_NTASKS in batch scripts and interactive shells too, where one process runs however
    many tasks were asked for: those start their own processes.
    """
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= env.keys():
        size = int(env["WORLD_SIZE"])
        local_rank = int(env.get("LOCAL_RANK", "0"))
        local_size = int(env.get("LOCAL_WORLD_SIZE", str(size if "LOCAL_RANK" in env else 1)))
        here = Place(
            rank=int(env["RANK"]), size=size, local_rank=local_rank, local_size=local_size, started_by="torchrun"
        )
        return here if size > 1 else None
    if "SLURM_PROCID" not in env or _is_slurm_shell(env):
        return None
    size = int(env.get("SLURM_STEP_NUM_TASKS") or env.get("SLURM_NTASKS") or "1")
    if size == 1:
        return None
    return Place(
        rank=int(env["SLURM_PROCID"]),
        size=size,
        local_rank=int(env.get("SLURM_LOCALID", env["SLURM_PROCID"])),
        local_size=_tasks_here(env, size),
        started_by="srun",
    )


def _is_slurm_shell(env: Mapping[str, str]) -> bool:
    """Whether this runs in a batch script (which has no job step) or an interactive shell, and not under srun."""
    batch = env.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in env
    return batch or env.get("SLURM_JOB_NAME") in ("bash", "interactive")


def _tasks_here(env: Mapping[str, str], size: int) -> int:
    """Tasks on this node, of a list like `4(x2),1`: the first two nodes have 4, the third has 1."""
    tasks = env.get("SLURM_STEP_TASKS_PER_NODE") or env.get("SLURM_TASKS_PER_NODE")
    if tasks is None:
        return size // int(env.get("SLURM_STEP_NUM_NODES") or env.get("SLURM_NNODES") or "1")
    by_node = [
        int(count) for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", tasks) for _ in range(int(times or "1"))
    ]
    return by_node[int(env.get("SLURM_NODEID", "0"))]


def meeting_point(env: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Host and port where the processes that srun or torchrun started meet. MASTER_ADDR and MASTER_PORT say so; without
    them it is the first node of the SLURM step (this machine where all are on it), and a port by job and step, so that
    two steps of a job do not meet."""
    here = given(env)
    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_NODELIST") or env.get("SLURM_JOB_NODELIST")
    alone = here is None or here.local_size == here.size or not nodes
    host = env.get("MASTER_ADDR") or ("127.0.0.1" if alone else first_node(nodes))
    step = int(env.get("SLURM_JOB_ID", "0")) * 31 + int(env.get("SLURM_STEP_ID", "0"))
    return host, int(env.get("MASTER_PORT") or 15_000 + step % 15_000)


def first_node(nodes: str) -> str:
    """The first host of a SLURM node list: `gpu[07-09,12],big1` is gpu07."""
    name, bracket, rest = nodes.partition("[")
    if not bracket or "," in name:
        return nodes.split(",")[0].strip()
    inside, _, behind = rest.partition("]")
    return name + re.split("[,-]", inside)[0] + behind.split(",")[0]


def settle_devices(raw: Any, program: str, words: list[str]) -> None:
    """Sets trainer.devices of a configuration to the number of processes that srun or torchrun started.

    Raises ConfigError where the command line, or the run that is resumed, asks for another number. That of a file, such
    as trainer=ddp, is for a run that starts its processes itself.
    """
    here = given()
    if here is None or program not in ("train", "evaluate"):
        return
    asked = raw.trainer.devices
    # An evaluation gives the same numbers on any number of processes, so that of the run it evaluates does not bind it.
    inherited = program == "evaluate" and raw.run is not None and not any(w.startswith("trainer") for w in words)
    by_file = raw.resume is None and not any(word.startswith("trainer.devices=") for word in words)
    if asked == here.size or inherited or by_file:
        raw.trainer.devices = here.size
        return
    if raw.resume is not None:
        raise ConfigError(
            f"resume={raw.resume} was begun with trainer.devices={asked}, but {here.started_by} started"
            f" {here.size} processes: start {asked}, since a run ends with the number it began with"
        )
    raise ConfigError(
        f"trainer.devices={asked}, but {here.started_by} started {here.size} processes, on all nodes together: leave"
        f" trainer.devices out, set it to {here.size}, or start {asked}"
    )
