"""What the numbers of a run depend on beside its configuration: code, versions of libraries, and the machine."""

import hashlib
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from affect import __version__
from affect.runs.lifecycle import now
from affect.runs.run_summary import read_json

LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "av",
    "numpy",
    "wandb",
)


def environment(program: str) -> dict[str, Any]:
    """Program, versions, commit and machine: what results depend on beside the configuration."""
    return {
        "program": program,
        "affect": __version__,
        "code_sha256": code_sha256(),
        "command": sys.argv,
        **_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "gpus": _gpus(),
        "versions": _versions(),
        "resumed": [],
    }


def start_note(words: Sequence[str]) -> dict[str, Any]:
    """What sweep.json keeps of one start of a multirun."""
    return {
        "time": now(),
        "words": list(words),
        "folder": os.getcwd(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "affect": __version__,
        "code_sha256": code_sha256(),
        **_commit(),
    }


@cache
def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


@cache
def _gpus() -> list[str]:
    """Names of the machine's NVIDIA GPUs; torch, which knows them too, takes seconds to import."""
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


@cache
def _commit() -> dict[str, Any]:
    def git(*words: str) -> str:
        root = Path(__file__).resolve().parent
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}  # installed from a package, or without git: there is no commit to name


@cache
def code_sha256() -> str:
    """Hash of affect's source when first called. It tells whether two runs had the same code, also without git and with
    a modified tree."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def program_of(folder: Path) -> str:
    """train or evaluate: the program that made the run folder."""
    return read_json(folder / "environment.json")["program"]


def check_same_code(folder: Path) -> list[str]:
    """A phrase for each difference in code and libraries since the run of `folder` began."""
    then = read_json(folder / "environment.json")
    now = environment(then["program"])
    changed = []
    if then["code_sha256"] != now["code_sha256"]:
        changed.append(f"affect's code (begun with version {code_in_words(then)}, and this is {code_in_words(now)})")
    changed += [
        f"{name} ({then['versions'][name]} then, {now['versions'][name]} now)"
        for name in LIBRARIES
        if then["versions"][name] != now["versions"][name]
    ]
    return changed


def code_in_words(environment: dict[str, Any]) -> str:
    """Version and commit, and the first digits of the hash, by which two states of a modified tree are told apart."""
    commit = f", commit {environment['commit'][:12]}" if environment["commit"] else ""
    return f"{environment['affect']}{commit}, code {environment['code_sha256'][:8]}"
