"""What several test files share. No test goes to the network, and none reads the user's own data or cache."""

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

# Before any test module imports a library that reads them: a missing file has to fail here, not be downloaded.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
# Tiny models gain nothing from a second thread, and where the cores are shared, waiting for it takes ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import composed_once
import pytest
from fake_server import Fake
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from affect.cli.entry import entry
from affect.cli.validate import conflicts
from affect.config import GROUPS, Config, register
from affect.config import compose as composing
from affect.config.groups import CONF, DELTAS
from affect.data.readers import check_options

composed_once.install()

LONG = (
    "test_golden_runs.py",
    "test_processes.py",
    "test_launchers.py",
    "test_sweeps.py",
    "test_resume.py",
    "test_runs.py",
    "test_gpu_check.py",
)
"""Files that take the longest. They come first: a worker that is given one at the end leaves the other without work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("this test needs a CUDA device, and torch finds none here.")


@pytest.fixture(autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user has set for her runs stays out of the tests."""
    monkeypatch.setenv("AFFECT_DATA", str(tmp_path_factory.getbasetemp() / "data"))
    monkeypatch.setenv("AFFECT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("AFFECT_STAMP", raising=False)


@pytest.fixture(scope="session")
def configure() -> Callable[..., Config]:
    """`configure(*words, program="train")`: the configuration that the command line makes of these words.

    Composing takes a third of a second, so it is done once for every choice of groups; the other words are put into a
    copy by the function with which Hydra ends its own composing.
    """

    def made(*words: str, program: str = "train") -> Config:
        chosen = [word for word in words if re.split("[@=]", word.lstrip("+~"))[0] in (*GROUPS, *DELTAS)]
        raw = _composed(tuple(chosen)).copy()
        others = OverridesParser.create().parse_overrides([word for word in words if word not in chosen])
        ConfigLoaderImpl._apply_overrides_to_config(others, raw)
        cfg = composing.load(raw, program, conflicts)
        for dataset in cfg.datasets.values():
            check_options(dataset)
        return cfg

    return made


@cache
def _composed(words: tuple[str, ...]) -> DictConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(words))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[list[Config], str]]:
    """`command(*words, program="train")` runs that program in this process, in an empty folder, with a main that does
    nothing. Gives the configurations main was called with, and what the program said at its end ("" where it ended
    well)."""

    def run(*words: str, program: str = "train") -> tuple[list[Config], str]:
        called: list[Config] = []
        folder = tmp_path / "working_directory"
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [f"{program}.py", *words])
        try:
            entry(program, "About.")(lambda cfg, job_folder: called.append(cfg))()
        except SystemExit as end:
            return called, str(end.code)
        return called, ""

    return run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A server in a thread of this process."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Fake()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.over.set()
    made.shutdown()
    made.server_close()
