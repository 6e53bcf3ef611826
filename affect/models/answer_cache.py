"""Answers of a server in an unfinished run, kept so that an interrupted run does not ask again.

Only until the predictions are written. Kept for longer, an answer would outlive the weights it came from, since a
server does not tell when they change. Everything is in `answers.sqlite` under `cache_root`; it can be deleted at any
time.
"""

import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from affect.data.database import opened

TABLE = "answers (key TEXT PRIMARY KEY, text TEXT, time TEXT, run TEXT)"


@dataclass(slots=True)
class Answers:
    """Those of one run."""

    file: Path
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    num_taken_over: int = 0
    """Answers of earlier runs, which did not end."""
    since: str = ""
    """When the first of those was given: UTC, ISO 8601. Empty without any."""

    @contextmanager
    def at_hand(self) -> Iterator["Kept"]:
        """To look into and to add to. Raises DataError where the file is damaged or cannot be written."""
        with opened(self.file, TABLE) as database:
            yield Kept(database, self)

    def forget(self) -> None:
        """To be called when nothing of the run can be lost any more. Raises DataError as `at_hand`."""
        with opened(self.file, TABLE) as database, database:
            database.execute("DELETE FROM answers WHERE run = ?", (self.run,))


@dataclass(slots=True)
class Kept:
    database: sqlite3.Connection
    answers: Answers

    def look_up(self, keys: Iterable[str]) -> dict[str, str]:
        """The texts that are there, by key. Those of other runs belong to this one from now on."""
        texts, taken = {}, []
        for key in keys:
            row = self.database.execute("SELECT text, time, run FROM answers WHERE key = ?", (key,)).fetchone()
            if row is not None:
                texts[key] = row[0]
                taken += [] if row[2] == self.answers.run else [(key, row[1])]
        if taken:
            self.answers.num_taken_over += len(taken)
            self.answers.since = min(filter(None, [self.answers.since, *(time for _, time in taken)]))
            with self.database:
                rows = [(self.answers.run, key) for key, _ in taken]
                self.database.executemany("UPDATE answers SET run = ? WHERE key = ?", rows)
        return texts

    def add(self, key: str, text: str) -> None:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        with self.database:
            row = (key, text, time, self.answers.run)
            self.database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)
