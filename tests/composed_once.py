"""Hydra's composing of shipped files, done once for every choice of them.

Hydra takes a quarter of a second to find and merge the files of a command line, and tests run programs in their own
process more than a thousand times. What is merged depends on the choices of groups alone; all other words are put into
it afterwards, by Hydra as ever. Files outside of conf/ are read anew each time, since tests write them.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.config_store import ConfigStore

from affect.config.groups import CONF

SHIPPED = {("file", str(CONF)), ("pkg", "hydra.conf"), ("structured", "")}

create, merge = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """In the block Hydra composes everything anew."""
    ours = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list
    config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list = create, merge
    try:
        yield
    finally:
        config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list = ours


def install() -> None:
    """Puts it into Hydra, for this process."""
    lists: dict[Any, DefaultsList] = {}
    merged: dict[int, Any] = {}

    def list_defaults(repo: Any, config_name: Any, overrides_list: list[Any], **how: bool) -> DefaultsList:
        if {(source.scheme(), source.path) for source in repo.get_sources()} != SHIPPED:
            return create(repo, config_name, overrides_list, **how)
        overrides = Overrides(repo=repo, overrides_list=overrides_list)
        values = set(map(id, overrides.config_overrides))
        choices = [o for o in overrides_list if id(o) not in values and not o.is_sweep_override()]
        key = (config_name, *(o.input_line for o in choices), *sorted(how.items()), *names(ConfigStore.instance().repo))
        if key not in lists:
            lists[key] = create(repo, config_name, choices, **how)
        found = lists[key]
        return DefaultsList(found.defaults, found.defaults_tree, overrides.config_overrides, found.overrides)

    def merge_files(self: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> Any:
        if not any(defaults is known.defaults for known in lists.values()):
            return merge(self, defaults, repo)
        if id(defaults) not in merged:
            merged[id(defaults)] = merge(self, defaults, repo)
        return copy.deepcopy(merged[id(defaults)])

    def take_shallow_copy(self: CachingConfigRepository, delegate: Any) -> None:
        self.delegate, self.cache = copy.copy(delegate), {}  # a new list of sources replaces the other one

    config_loader_impl.create_defaults_list = list_defaults
    ConfigLoaderImpl._compose_config_from_defaults_list = merge_files
    CachingConfigRepository.__init__ = take_shallow_copy


def names(store: Mapping[str, Any]) -> Iterator[str]:
    """All names in Hydra's store, to which tests add and from which they take away."""
    for name, node in store.items():
        yield name
        if isinstance(node, Mapping):
            yield from names(node)
