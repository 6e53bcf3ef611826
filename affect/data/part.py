"""One split of one dataset: its records and its exclusions."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from affect.config import DataError
from affect.data.problems import Excluded
from affect.data.record import Record

BAD_ROW = "wrong in the annotations (on_bad_rows=exclude)"
"""The reason that `Part.account` gives for bad rows; exclusions.csv has the details of each."""


@dataclass(slots=True, kw_only=True)
class Part:
    """One split of one dataset."""

    dataset: str
    split: str
    expected: int
    """Number of records in the annotations, including rows that could not be read."""
    outside_subset: int
    """Number of records left out because the configuration asks for a subset."""
    records: list[Record]
    """Records that are used. The clip check moves those that cannot be to `excluded`."""
    excluded: list[Excluded] = field(default_factory=list)
    fraction: dict[str, Any] | None = None
    """Counts of the drawn share of the training clips (see subsets.whole_groups), before the clip check; None if all
    are used."""
    annotations_sha256: str | None = None
    """Hash of what the annotations of the split hold, before anything is left out; None where they were not read."""
    others: Mapping[str, tuple[str, list[Record]]] = field(default_factory=dict)
    """Reader and records, by name, of the datasets in exclude_overlap_with: their clips are left out."""

    @property
    def num_excluded(self) -> int:
        return sum(item.count for item in self.excluded)

    @property
    def num_bad_rows(self) -> int:
        """Number of wrong rows of the annotations that were left out (on_bad_rows=exclude)."""
        return sum(item.count for item in self.excluded if item.bad_row)

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Moves the records with these ids to the exclusions. Raises DataError if none would be left."""
        left_out = [record for record in self.records if record.id in reasons]
        if not left_out:
            return
        self.excluded += [Excluded(id=r.id, split=self.split, reason=reasons[r.id], source=r.source) for r in left_out]
        self.records = [record for record in self.records if record.id not in reasons]
        if not self.records:
            raise DataError(
                f"no clip of dataset '{self.dataset}', split '{self.split}' is left: {len(left_out):,} are left out,"
                f" the first, {left_out[0].id}, as '{reasons[left_out[0].id]}': choose another dataset or split"
            )

    def account(self) -> dict[str, Any]:
        """The numbers of used and excluded records, by reason, and the hash of the used ids."""
        reasons: dict[str, int] = {}
        for item in self.excluded:
            reason = BAD_ROW if item.bad_row else item.reason
            reasons[reason] = reasons.get(reason, 0) + item.count
        ids = sorted(record.id for record in self.records)
        return {
            "dataset": self.dataset,
            "split": self.split,
            "expected": self.expected,
            "outside_subset": self.outside_subset,
            "excluded": self.num_excluded,
            "bad_rows": self.num_bad_rows,
            "reasons": reasons,
            "used": len(ids),
            "ids_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
            **({} if self.annotations_sha256 is None else {"annotations_sha256": self.annotations_sha256}),
            **({} if self.fraction is None else {"fraction": self.fraction}),
        }
