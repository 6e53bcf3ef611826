"""On-disk cache of a server's answers, so that an interrupted run does not ask again.

Answers are kept until the predictions are written, not longer, since a server does not tell when its weights change.
The file is `answers.sqlite` under `cache_root`; it can be deleted at any time.
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
    """The cache as one run uses it."""

    file: Path
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    num_taken_over: int = 0
    """Answers taken over from earlier, unfinished runs."""
    since: str = ""
    """Time of the oldest of those: UTC, ISO 8601. Empty without any."""

    @contextmanager
    def opened(self) -> Iterator["Kept"]:
        """Opens the file. Raises DataError where it is damaged or cannot be written."""
        with opened(self.file, TABLE) as database:
            yield Kept(database, self)

    def forget(self) -> None:
        """Deletes this run's answers, once its predictions are written. Raises DataError as `opened`."""
        with opened(self.file, TABLE) as database, database:
            database.execute("DELETE FROM answers WHERE run = ?", (self.run,))


@dataclass(slots=True)
class Kept:
    """The open cache."""

    database: sqlite3.Connection
    answers: Answers

    def look_up(self, keys: Iterable[str]) -> dict[str, str]:
        """The cached texts by key. Those of other runs belong to this run from now on."""
        texts, taken_over = {}, []
        for key in keys:
            row = self.database.execute("SELECT text, time, run FROM answers WHERE key = ?", (key,)).fetchone()
            if row is not None:
                texts[key] = row[0]
                taken_over += [] if row[2] == self.answers.run else [(key, row[1])]
        if taken_over:
            self.answers.num_taken_over += len(taken_over)
            self.answers.since = min(filter(None, [self.answers.since, *(time for _, time in taken_over)]))
            with self.database:
                rows = [(self.answers.run, key) for key, _ in taken_over]
                self.database.executemany("UPDATE answers SET run = ? WHERE key = ?", rows)
        return texts

    def add(self, key: str, text: str) -> None:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        with self.database:
            row = (key, text, time, self.answers.run)
            self.database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)
