"""The sweeper of conf/hydra/sweeper/optuna.yaml."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from affect.runs import search

PACKAGE, MODULE = "hydra_plugins", "hydra_plugins.affect"
"""Hydra takes plugins from this package alone, and imports all that is installed there whenever a program starts. The
sweeper is put there when it is asked for, so that it is found in a checkout too and costs nothing otherwise."""


class Search(Sweeper):
    """Runs affect.runs.search.Search, of which the keys of the file are the arguments."""

    __module__ = MODULE

    def __init__(self, params: DictConfig, **keys: Any) -> None:
        self.params, self.keys = params, keys

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        folder = Path(config.hydra.sweep.dir).absolute()
        self.search = search.Search(folder, launcher, **self.keys)
        self.parser = OverridesParser.create(config_loader=hydra_context.config_loader)

    def sweep(self, arguments: list[str]) -> None:
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        self.search.run({each.get_key_element(): each for each in self.parser.parse_overrides(words)})


def register() -> None:
    """Makes the sweeper known to Hydra."""
    plugins = Plugins.instance()  # which imports what is installed
    module = ModuleType(MODULE)
    module.Search = Search
    sys.modules.setdefault(PACKAGE, ModuleType(PACKAGE)).affect = module
    sys.modules[MODULE] = module
    plugins.register(Search)
