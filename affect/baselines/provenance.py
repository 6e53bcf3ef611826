"""What a checkpoint of a baseline was trained on, and the check before it is used."""

import json
from collections.abc import Mapping
from typing import Any

from affect.config import ConfigError
from affect.config.roles import leaves
from affect.data.features import FeatureSource

NAMED = 3
"""Differences that a message names."""


def provenance(source: FeatureSource | None, modalities: tuple[str, ...]) -> str:
    """The features and modalities of a training, as JSON."""
    features = None if source is None else source.identity()
    return json.dumps({"features": features, "modalities": modalities}, sort_keys=True)


def check(checkpoint: Mapping[str, Any], expected: str, path: str) -> None:
    """Raises ConfigError where the checkpoint at `path` is of other features or modalities than `expected`."""
    try:
        then, now = json.loads(checkpoint["base"]), json.loads(expected)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no checkpoint of this method: name a run that was trained with it") from error
    remedy = "evaluate it with those of its training, or train again"
    if then.get("modalities") != now["modalities"]:
        raise ConfigError(
            f"{path} was trained on the modalities {', '.join(then.get('modalities', ()))}, and is now given"
            f" {', '.join(now['modalities'])}: {remedy}"
        )
    before, after = (dict(leaves({"features": each.get("features")})) for each in (then, now))
    differing = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    if differing:
        raise ConfigError(
            f"{path} was trained on other features than it is now given ("
            + "; ".join(f"{key} was {before.get(key)} and is {after.get(key)}" for key in differing[:NAMED])
            + f"): {remedy}"
        )
