"""Clips as an error analysis lists them, and what they are put in order by."""

from collections.abc import Mapping, Sequence

import numpy as np

from affect.config import Kind, Task
from affect.evaluation.error_analysis import clips
from affect.reports.errors.results import Clip
from affect.reports.paired_runs import Scored


class ListedClips:
    """Rows of clips as they are listed."""

    def __init__(
        self,
        ids: Sequence[str],
        gold: np.ndarray,
        runs: Sequence[Scored],
        task: Task,
        texts: Mapping[str, str],
        probability: np.ndarray,
    ) -> None:
        self.ids, self.gold, self.runs, self.task, self.texts = ids, gold, runs, task, texts
        self.probability = probability
        reads = [run.read(ids, task) for run in runs]
        self.wrong = np.array([~clips.right(gold, read, task) for read in reads])
        self.error: np.ndarray | None = None
        if task.kind is Kind.intensity:
            assert task.low is not None and task.high is not None
            # What cannot be read is as far off as it can be (metrics.policies).
            farthest = np.maximum(task.high - gold, gold - task.low)
            self.error = np.mean([np.where(np.isnan(read), farthest, np.abs(read - gold)) for read in reads], axis=0)

    def confidence(self) -> np.ndarray:
        """float64[runs, N]: the probability of the answer."""
        return self.probability.max(axis=2, initial=-np.inf) if self.task.labels else np.full(self.wrong.shape, np.nan)

    def gold_probability(self) -> np.ndarray:
        """float64[N], mean over runs."""
        if self.task.kind is not Kind.classification:
            return np.full(len(self.ids), np.nan)
        return self.probability[:, np.arange(len(self.ids)), self.gold].mean(axis=0)

    def badness(self) -> np.ndarray:
        """float64[N]: the error of an intensity, or how improbable the gold label is; 0 where neither is known."""
        return self.error if self.error is not None else np.nan_to_num(1 - self.gold_probability())

    def of(self, rows: Sequence[int] | np.ndarray, answering: Sequence[int]) -> list[Clip]:
        """Of these rows, with the answers of these runs."""
        gold_probability, confidence = self.gold_probability(), self.confidence()
        result = []
        for row in rows:
            wrong = [confidence[place, row] for place in answering if self.wrong[place, row]]
            key = self.ids[row]
            result.append(
                Clip(
                    id=key,
                    gold=_written(self.runs[0].predictions[key].target),
                    answers=[
                        _written(getattr(self.runs[place].predictions[key], self.runs[place].reader))
                        for place in answering
                    ],
                    confidence=_known(np.mean(wrong)) if wrong else None,
                    gold_probability=_known(gold_probability[row]),
                    error=None if self.error is None else float(self.error[row]),
                    text=self.texts.get(key, ""),
                )
            )
        return result


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _written(value: object) -> str:
    if value is None:
        return "unreadable"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
