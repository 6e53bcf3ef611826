"""Feature files in MMSA's layout."""

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WIDTHS = {"text": 768, "audio": 5, "vision": 20}
STEPS = {"text": 50, "audio": 375, "vision": 500}


class OldNames(pickle._Pickler):
    """Names numpy's functions as numpy below 2 does, with which the published files were made."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None) or ""
        if not module.startswith("numpy._core"):
            return super().save_global(obj, name)
        module, name = module.replace("numpy._core", "numpy.core"), name or obj.__qualname__
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)
        return None

    dispatch = pickle._Pickler.dispatch | {type(np.zeros): save_global, type(len): save_global}


def pickled(content: Any, protocol: int = 4, *, old: bool = True) -> bytes:
    """`content`, with numpy's names of below 2 or of today."""
    if not old:
        return pickle.dumps(content, protocol)
    file = io.BytesIO()
    OldNames(file, protocol).dump(content)
    return file.getvalue()


def split_of(
    ids: Sequence[str],
    labels: Sequence[float],
    *,
    aligned: bool = False,
    steps: Mapping[str, int] = STEPS,
    widths: Mapping[str, int] = WIDTHS,
    seed: int = 0,
) -> dict[str, Any]:
    """One split with random numbers: in clip i 3 + i steps of text, 5 + i of audio and 4 + i of vision; of all as many
    as of text if `aligned`."""
    chance = np.random.default_rng(seed)
    fields: dict[str, Any] = {"raw_text": np.array(["A LOT OF SAD PARTS"] * len(ids), object), "id": list(ids)}
    lengths = {"text": 3, "audio": 3 if aligned else 5, "vision": 3 if aligned else 4}
    for name, first in lengths.items():
        total = steps["text" if aligned else name]
        array = np.zeros((len(ids), total, widths[name]), np.float32)
        for row in range(len(ids)):
            array[row, : first + row] = chance.normal(size=(first + row, widths[name]))
        fields[name] = array
        if name != "text" and not aligned:
            fields[f"{name}_lengths"] = [first + row for row in range(len(ids))]
    bert = np.zeros((len(ids), 3, steps["text"]), np.float32)
    for row in range(len(ids)):
        bert[row, :2, : 3 + row] = 1
    fields["text_bert"] = bert
    fields["annotations"] = np.array(["Negative" if label < 0 else "Positive" for label in labels], object)
    fields["classification_labels"] = np.array([float(label >= 0) for label in labels], np.float32)
    fields["regression_labels"] = np.array(labels, np.float32)
    return fields


def write(path: Path, content: Any, protocol: int = 4, *, old: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickled(content, protocol, old=old))
    return path
