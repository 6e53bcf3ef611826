"""What training and evaluation have ready before they make a method of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affect.config import Config
from affect.data.class_balance import Classes
from affect.data.clips import ClipSource
from affect.data.part import Part
from affect.knowledge.attach import Attached


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    cfg: Config
    folder: Path
    parts: Sequence[Part]
    source: ClipSource
    described: Attached
    classes: Classes
