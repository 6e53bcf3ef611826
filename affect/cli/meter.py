"""Progress of making descriptions, transcripts or ratings."""

import sys
import time
from types import TracebackType

REPORT_EVERY = 60.0
"""Seconds between two lines of progress where there is no terminal for a bar."""


class Meter:
    """Progress on the error stream: a bar in a terminal, a line a minute elsewhere."""

    def __init__(self, enabled: bool, texts: str = "descriptions", doing: str = "describing") -> None:
        from rich.progress import TextColumn

        from affect.data.progress import progress

        self.enabled, self.texts, self.doing = enabled, texts, doing
        self.bar = progress(enabled, TextColumn("{task.fields[rate]:.1f}/s, {task.fields[failed]:,} failed"))
        self.total = self.made = self.failed = 0

    def begin(self, known: int, missing: int) -> None:
        self.total = missing
        self.started = self.said = time.monotonic()
        print(f"{known:,} {self.texts} are in the store, {missing:,} are missing", file=sys.stderr, flush=True)
        self.task = self.bar.add_task(self.doing, total=missing, rate=0.0, failed=0)

    def advance(self, made: int, failed: int) -> None:
        self.made += made
        self.failed += failed
        now = time.monotonic()
        rate = (self.made + self.failed) / max(now - self.started, 1e-9)
        self.bar.update(self.task, advance=made + failed, rate=rate, failed=self.failed)
        if self.enabled and not self.bar.console.is_terminal and now - self.said >= REPORT_EVERY:
            self.said = now
            left = (self.total - self.made - self.failed) / rate
            print(
                f"{self.made:,} of {self.total:,} made, {self.failed:,} failed, {rate:.1f} a second,"
                f" {left / 60:.0f} min left",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> "Meter":
        self.bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.__exit__(kind, error, trace)
