"""Small files that others may read, or that a kill may meet, while they are written."""

import json
import os
import threading
from pathlib import Path
from typing import Any


class WriteError(OSError):
    """What was made could not be written. As a string it is a sentence that names the file, the reason and the
    remedy."""

    def __init__(self, sentence: str, cause: Exception) -> None:
        super().__init__(getattr(cause, "errno", None), getattr(cause, "strerror", None) or str(cause))
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


def write_atomic(path: Path, text: str | bytes) -> None:
    """Writes a file (text as UTF-8) so that a reader, or a kill in the middle, meets the old one or the new one, never
    half of one. Raises WriteError where the disk is full, or the folder is not to be written to."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        temporary.write_bytes(text) if isinstance(text, bytes) else temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise WriteError(
                f"{path} could not be written ({error.strerror or error}): make room, or see that its folder is there"
                " and may be written to, and run this again",
                error,
            ) from error
        raise


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
