"""Schema of the group `logger`: CSV and Weights & Biases."""

from dataclasses import dataclass, field
from enum import Enum

from affect.config.fields import role


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

    kind: LoggerKind = field(default=LoggerKind.csv, metadata=role("runtime"))
    """csv is the file alone; wandb logs to Weights & Biases too."""
    project: str = field(default="affect", metadata=role("runtime"))
    """Project of Weights & Biases."""
    entity: str | None = field(default=None, metadata=role("runtime"))
    """User or team of Weights & Biases; null is the one who is logged in."""
    mode: WandbMode = field(default=WandbMode.auto, metadata=role("runtime"))
    """auto: what the environment variable WANDB_MODE says; else online where somebody is logged in, and offline
    otherwise."""
    num_samples: int = field(default=16, metadata=role("runtime"))
    """Predictions that are shown with transcript and clip in a table; 0 is no table."""
