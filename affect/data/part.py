"""One split of one dataset, and what became of its records."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from affect.config import DataError
from affect.data.record import Record
from affect.data.tables import Excluded

BAD_ROW = "wrong in the annotations (on_bad_rows=exclude)"
"""The reason that accounts name for rows that are wrong; exclusions.csv says of each what is wrong with it."""


@dataclass(slots=True, kw_only=True)
class Part:
    """One split of one dataset, with what became of its records."""

    dataset: str
    split: str
    expected: int
    """Records the annotations have, those included that the reader could not give."""
    outside_subset: int
    """Records left out because the configuration asks for a subset."""
    records: list[Record]
    """Records that are used; the clip check takes out of it what cannot be."""
    excluded: list[Excluded] = field(default_factory=list)
    fraction: dict[str, Any] | None = None
    """Counts of the share of the training clips that was drawn (see datasets.subsets.whole_groups), before the clip
    check; None where all are used."""

    @property
    def num_excluded(self) -> int:
        return sum(item.count for item in self.excluded)

    @property
    def num_bad_rows(self) -> int:
        """Rows of the annotations that are wrong and were left out (on_bad_rows=exclude)."""
        return sum(item.count for item in self.excluded if item.bad_row)

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Moves the records with these ids to the exclusions. Raises DataError where none would be left."""
        gone = [record for record in self.records if record.id in reasons]
        if not gone:
            return
        self.excluded += [Excluded(id=r.id, split=self.split, reason=reasons[r.id], source=r.source) for r in gone]
        self.records = [record for record in self.records if record.id not in reasons]
        if not self.records:
            raise DataError(
                f"no clip of dataset '{self.dataset}', split '{self.split}' is left: {len(gone):,} are left out, the"
                f" first, {gone[0].id}, as '{reasons[gone[0].id]}': choose another dataset or split"
            )

    def account(self) -> dict[str, Any]:
        """The counts, by reason, and the hash of the ids used: what a number of this part stands on."""
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
            **({} if self.fraction is None else {"fraction": self.fraction}),
        }
