"""Fixtures of the tests of data."""

from collections.abc import Callable
from pathlib import Path

import pytest

from affect.data import clips


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that ClipSource has decoded; a test may clear the list."""
    names: list[str] = []

    def counting(path: str, *rest: object, decode: Callable[..., clips.Clip] = clips.decode) -> clips.Clip:
        names.append(Path(path).name)
        return decode(path, *rest)

    monkeypatch.setattr(clips, "decode", counting)
    return names
