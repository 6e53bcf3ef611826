"""What a checkpoint of a baseline was trained on, and the check before it is used."""

import json
from collections.abc import Mapping
from typing import Any

from affect.config import ConfigError
from affect.data.features import FeatureSource


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
    for name in now:
        if then.get(name) != now[name]:
            raise ConfigError(
                f"{path} was trained on the {name} {json.dumps(then.get(name))}, and is now given"
                f" {json.dumps(now[name])}: evaluate it with those of its training, or train again"
            )
