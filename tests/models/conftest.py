"""Tiny models of the native families, built and loaded once a session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_families import BUILD


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint folder of a name in BUILD. A test that changes it has to copy it."""
    root = tmp_path_factory.mktemp("families")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else BUILD[name](root / name)

    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint: Callable[[str], Path]) -> Callable[..., Any]:
    """`loaded(name)` gives the tiny model of a family in test_families.py; `loaded(name, "ta")` with these modalities.
    A test that changes a model has to take its `fresh()`."""
    from test_families import SUITE, Loaded, load_tiny

    families = {family.name: family for family in SUITE}
    models: dict[tuple[str, str], Loaded] = {}

    def load(name: str, modalities: str | None = None) -> Loaded:
        family = families[name]
        for package in family.needs:
            pytest.importorskip(package)
        key = (name, modalities or family.modalities)
        if key not in models:
            models[key] = Loaded(family, *load_tiny(family, checkpoint(name), key[1]))
        return models[key]

    return load
