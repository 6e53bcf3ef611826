"""Tiny trainings and evaluations keep their losses, predictions and metrics (golden_runs.py)."""

import json
from pathlib import Path
from typing import Any

import pytest
from golden_runs import EVALUATIONS, GOLDEN, all_numbers, trainings

TOLERANCE = 2e-3
"""Relative, and in nats or metric points where a number is near zero: processors differ in the order of their sums."""


def differences(expected: Any, found: Any, place: str = "") -> list[str]:
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        return [line for key in expected for line in differences(expected[key], found[key], f"{place}/{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for i, (one, other) in pairs for line in differences(one, other, f"{place}/{i}")]
    if isinstance(expected, float) and isinstance(found, float):
        close = found == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
    else:
        close = expected == found
    return [] if close else [f"{place}: {expected} became {found}"]


def test_numbers_are_those_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))
    again = {f"{name} {readout}" for name, readouts in EVALUATIONS.items() for readout in readouts}
    assert expected.keys() == trainings(tmp_path).keys() | again
    found = differences(expected, all_numbers(tmp_path))
    assert not found, "\n".join(found[:20])


def test_a_difference_is_seen() -> None:
    assert differences({"a": [1.0, "joy"]}, {"a": [1.0, "joy"]}) == []
    assert differences({"a": [1.0]}, {"a": [1.01]}) == ["/a/0: 1.0 became 1.01"]
    assert differences({"a": None}, {"a": 1.0}) and differences([1.0], [1.0, 2.0]) and differences({"a": 1}, {"b": 1})
