"""Progress bars of the audit, on the error stream, so that the table can be piped."""

from types import TracebackType

from rich.progress import TaskID

from affect.data.progress import progress


class Bars:
    """Context manager; `advance` is what examine calls."""

    def __init__(self, dataset: str, enabled: bool) -> None:
        self.dataset = dataset
        self.tasks: dict[str, TaskID] = {}
        self.bar = progress(enabled, stderr=True)

    def __enter__(self) -> "Bars":
        self.bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.__exit__(kind, error, trace)

    def advance(self, split: str, total: int, done: int) -> None:
        if split not in self.tasks:
            self.tasks[split] = self.bar.add_task(f"examining clips of {self.dataset} {split}", total=total)
        self.bar.update(self.tasks[split], advance=done)
