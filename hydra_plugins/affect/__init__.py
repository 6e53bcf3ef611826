"""The sweeper of conf/hydra/sweeper/optuna.yaml. Hydra takes plugins from the package hydra_plugins alone, and imports
all that is there whenever a program starts; so the search itself is affect.runs.search."""

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Search(Sweeper):
    """Runs affect.runs.search.Search, of which the keys of the file are the arguments."""

    def __init__(self, params: DictConfig, **keys: Any) -> None:
        self.params, self.keys = params, keys

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from affect.runs import search

        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        folder = Path(config.hydra.sweep.dir).absolute()
        self.search = search.Search(folder, launcher, **self.keys)
        self.parser = OverridesParser.create(config_loader=hydra_context.config_loader)

    def sweep(self, arguments: list[str]) -> None:
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        self.search.run({each.get_key_element(): each for each in self.parser.parse_overrides(words)})
