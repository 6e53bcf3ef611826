"""Which clips two datasets share. Published sets contain each other, and a clip that was trained on cannot test."""

import math
import os
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from affect.record import Record

FAMILIES = {
    # CH-SIMS v2 has all 2,281 clips of CH-SIMS, with the same video_id/clip_id, label and split.
    "sims": "sims",
    "simsv2": "sims",
    # 688 of MUStARD's 690 ids are SCENE ids of MUStARD++. Neither has an official split, so any two splits can meet.
    "mustard": "mustard",
    "mustard_plus_plus": "mustard",
}
"""By reader, the collection its ids belong to: equal ids there are the same clip."""

SPLIT_IS_PART_OF_ID = {"meld", "demo"}
"""Readers whose ids begin anew in every split, so that train/0/1 and test/0/1 are different clips."""

WITHOUT_PUBLISHED_IDS = {"manifest"}
"""Readers whose ids mean nothing outside their own table (there, the number of a row): only files are compared."""

SOURCES = {
    "Friends": {"meld", "mustard", "mustard_plus_plus"},
}
"""By programme, the readers whose clips are cut from it: the same actors and laughter, and perhaps the same scenes, but
cut differently, so that no id tells. (SMILE, a set for generation that takes its clips from MUStARD and UR-FUNNY, has
no reader here.)"""


def overlap(first: Sequence[Record], second: Sequence[Record], readers: tuple[str, str]) -> list[tuple[Record, Record]]:
    """Every pair of a record of `first` and one of `second` that are the same clip, in the order of `second`.

    Records are the same clip where their ids are, within one collection (see FAMILIES; any other reader is its own), or
    where file, start and end are. `readers` are those of the datasets that the two sides are of.
    """
    known: dict[Hashable, list[Record]] = defaultdict(list)
    for record in first:
        for key in _keys(record, readers[0]):
            known[key].append(record)
    pairs: dict[tuple[str, str], tuple[Record, Record]] = {}
    for record in second:
        for key in _keys(record, readers[1]):
            for other in known.get(key, ()):
                pairs[other.id, record.id] = (other, record)
    return list(pairs.values())


def related(first: str, second: str) -> bool:
    """Whether two different readers read published sets that are known to share clips."""
    return first != second and first in FAMILIES and FAMILIES[first] == FAMILIES.get(second)


def shared_source(first: str, second: str) -> str | None:
    """The programme that two readers' sets are both cut from without a way to tell which scenes they share."""
    if first == second or related(first, second):
        return None
    return next((name for name, readers in SOURCES.items() if {first, second} <= readers), None)


def file_and_window(record: Record) -> tuple[str, float, float] | None:
    """The file of a record's clip, and the seconds at which it begins and ends in it; None where it has no file."""
    if record.media is None:
        return None
    return os.path.abspath(record.media), record.start or 0.0, math.inf if record.end is None else record.end


def _keys(record: Record, reader: str) -> Iterator[Hashable]:
    if reader not in WITHOUT_PUBLISHED_IDS:
        own = record.id.removeprefix(f"{record.dataset}/")
        if reader not in SPLIT_IS_PART_OF_ID:
            own = own.removeprefix(f"{record.split}/")
        yield FAMILIES.get(reader, reader), own
    if (window := file_and_window(record)) is not None:
        yield window
