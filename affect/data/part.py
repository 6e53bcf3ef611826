"""One split of one dataset in a run: records used, and what is left out."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from affect.config import DataError
from affect.data.record import Record
from affect.data.tables import Excluded

BAD_ROW = "wrong in the annotations (on_bad_rows=exclude)"
"""The reason under which accounts count wrong rows; exclusions.csv says of each what is wrong with it."""


@dataclass(slots=True, kw_only=True)
class Part:
    """One split of one dataset: the records used, and what is left out."""

    dataset: str
    split: str
    expected: int
    """Records that the annotations have, those included that the reader left out."""
    outside_subset: int
    """Records left out because the configuration asks for a subset."""
    records: list[Record]
    """Records that are used; the clip check removes those whose clip cannot be."""
    excluded: list[Excluded] = field(default_factory=list)
    fraction: dict[str, Any] | None = None
    """Counts of the share of the training clips that was drawn (see subsets.whole_groups), before the clip check; None
    where all are used."""
    others: Mapping[str, tuple[str, list[Record]]] = field(default_factory=dict)
    """Reader and records, by name, of the datasets in exclude_overlap_with: their clips are left out."""

    @property
    def num_excluded(self) -> int:
        return sum(item.count for item in self.excluded)

    @property
    def num_bad_rows(self) -> int:
        """Rows of the annotations that are wrong and were left out (on_bad_rows=exclude)."""
        return sum(item.count for item in self.excluded if item.bad_row)

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Moves the records with these ids to the exclusions. Raises DataError where none would be left."""
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
        """Counts, exclusions by reason, and the hash of the ids used, which are reported with every result."""
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
