"""Schema of the group `logger`: CSV and Weights & Biases."""

from dataclasses import dataclass
from enum import Enum


class LoggerKind(str, Enum):
    csv = "csv"
    wandb = "wandb"


class WandbMode(str, Enum):
    auto = "auto"
    online = "online"
    offline = "offline"


@dataclass(slots=True, kw_only=True)
class LoggerConfig:
    """Every run writes log/metrics.csv; wandb is beside it."""

    kind: LoggerKind = LoggerKind.csv
    """csv is the file alone; wandb logs to Weights & Biases too."""
    project: str = "affect"
    """Project of Weights & Biases."""
    entity: str | None = None
    """User or team of Weights & Biases; null is the one who is logged in."""
    mode: WandbMode = WandbMode.auto
    """auto: what the environment variable WANDB_MODE says; else online where somebody is logged in, and offline
    otherwise."""
    num_samples: int = 16
    """Predictions that are shown with transcript and clip in a table; 0 is no table."""
