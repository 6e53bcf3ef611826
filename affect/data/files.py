"""Atomic writes of small files."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from affect.config import WriteError


def write_atomic(path: Path, text: str | bytes) -> None:
    """Writes a file (text as UTF-8) so that readers see the old or the new one, never half of it, also after a kill.
    Raises WriteError if the disk is full or the folder cannot be written."""
    # Processes of two machines may have one number, and those of two containers often do.
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
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
    """Writes `value` like write_atomic. Raises ValueError for NaN and infinity, which JSON does not have."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
