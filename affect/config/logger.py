"""Schema of the group `logger`: CSV and Weights & Biases."""

from dataclasses import dataclass
from enum import Enum

from affect.config.fields import field


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

    kind: LoggerKind = field(LoggerKind.csv, role="logging")
    """csv is the file alone; wandb logs to Weights & Biases too."""
    project: str = field("affect", role="logging")
    """Project of Weights & Biases."""
    entity: str | None = field(None, role="logging")
    """User or team of Weights & Biases; null is the one who is logged in."""
    mode: WandbMode = field(WandbMode.auto, role="logging")
    """auto: what the environment variable WANDB_MODE says; else online where somebody is logged in, and offline
    otherwise."""
    num_samples: int = field(16, role="logging", least=0)
    """Predictions that are shown with transcript and clip in a table; 0 is no table."""
