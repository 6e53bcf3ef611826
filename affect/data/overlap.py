"""Which clips two sets of records share, by id, file and window."""

import math
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from affect.data import readers
from affect.data.facts import Ids
from affect.data.record import Record

MIN_OVERLAP = 0.1
"""Seconds. Two windows of one recording that have more than this in common are the same clip; annotated times are
rounded, so neighbours may touch."""


DIGITS = 32
"""128 bits: a run folder keeps three or so of these hashes a clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The content of a media file, whatever it is called. Hashes are the first DIGITS hexadecimal digits of SHA-256."""

    sha256: str
    """Of the file's bytes."""
    audio: tuple[str, ...] = ()
    """Of each audio track, which stays the same when the track is copied into another container
    (affect.data.stream_hashes)."""
    video: tuple[str, ...] = ()
    """The same of each video track."""

    def holds_the_same_as(self, other: "Content") -> bool:
        """Whether the bytes are equal, or a sound track is, or the picture where one of the files has no sound. Equal
        pictures with different sound are different clips: a black screen, or a photograph, can stand before both."""
        if self.sha256 == other.sha256:
            return True
        if self.audio and other.audio:
            return bool({*self.audio} & {*other.audio})
        return bool({*self.video} & {*other.video})


Contents = Mapping[str, Content]
"""By record id; a record whose file was not read, or cannot be, is absent."""


def overlap(
    first: Sequence[Record],
    second: Sequence[Record],
    names: tuple[str, str],
    contents: tuple[Contents, Contents] = ({}, {}),
) -> list[tuple[Record, Record]]:
    """Every pair of a record of `first` and one of `second` that are the same clip, in the order of `second`.

    Records are the same clip where their ids are equal, if their readers are the same or `related`, or where
    `same_clips` says so. `names` are the readers of the two sides, `contents` what is known of their files.
    """
    by_id: list[tuple[Record, Record]] = []
    if (names[0] == names[1] or related(*names)) and _ids(names[0]) is not Ids.table:
        with_id: dict[str, list[Record]] = defaultdict(list)
        for record in first:
            with_id[_local_id(record, names[0])].append(record)
        by_id = [(other, record) for record in second for other in with_id.get(_local_id(record, names[1]), ())]
    return _in_order([*by_id, *same_clips(first, second, contents)], second)


def same_clips(
    first: Sequence[Record], second: Sequence[Record], contents: tuple[Contents, Contents] = ({}, {})
) -> list[tuple[Record, Record]]:
    """Every pair of a record of `first` and one of `second` from the same recording, in the order of `second`, whose
    windows are equal or have more than MIN_OVERLAP seconds in common.

    A recording is the same under another path that leads to the same file (a symbolic link), and, as far as `contents`
    of the two sides are known, in a file with the same bytes or with the same tracks.
    """
    sides: tuple[dict[Hashable, list[Record]], ...] = (defaultdict(list), defaultdict(list))
    real_paths: dict[str, str] = {}
    for side, records, content_of in zip(sides, (first, second), contents, strict=True):
        for record in records:
            if record.media is not None:
                path = real_paths.get(record.media) or real_paths.setdefault(
                    record.media, os.path.realpath(record.media)
                )
                side["path", path].append(record)
            if (content := content_of.get(record.id)) is not None:
                side["bytes", content.sha256].append(record)
                for track in content.audio:
                    side["audio", track].append(record)
                for track in content.video:
                    side["video", track].append(record)
    pairs = []
    for key in sides[0].keys() & sides[1].keys():
        for pair in _overlapping(sides[0][key], sides[1][key]):
            if key[0] == "path" or contents[0][pair[0].id].holds_the_same_as(contents[1][pair[1].id]):
                pairs.append(pair)
    return _in_order(pairs, second)


def window(record: Record) -> tuple[float, float]:
    """Seconds at which a record's clip begins and ends in its file."""
    return record.start or 0.0, math.inf if record.end is None else record.end


def _overlapping(first: Sequence[Record], second: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Pairs whose windows are equal or have more than MIN_OVERLAP seconds in common."""
    ordered = sorted(first, key=window)
    starts = [window(record)[0] for record in ordered]
    # The latest end so far tells how far back a window can reach, so that few of a long recording's are looked at.
    latest = list(accumulate((window(record)[1] for record in ordered), max))
    for record in second:
        start, end = window(record)
        at = bisect_left(starts, end) - 1
        while at >= 0 and latest[at] > start:
            begin, stop = window(ordered[at])
            if (begin, stop) == (start, end) or min(stop, end) - max(begin, start) > MIN_OVERLAP:
                yield ordered[at], record
            at -= 1


def _in_order(pairs: Sequence[tuple[Record, Record]], second: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Each pair once, in the order of `second`."""
    place = {record.id: number for number, record in enumerate(second)}
    once = {(other.id, record.id): (other, record) for other, record in pairs}
    return sorted(once.values(), key=lambda pair: (place[pair[1].id], pair[0].id))


def related(first: str, second: str) -> bool:
    """Whether two different readers read published sets that share clips."""
    same = [readers.constant(reader, "SAME_CLIPS_AS", ()) for reader in (first, second)]
    return first != second and (second in same[0] or first in same[1])


def shared_source(first: str, second: str) -> str | None:
    """The programme that two readers' sets are both cut from without a way to tell which scenes they share."""
    if first == second or related(first, second):
        return None
    programmes = [readers.constant(reader, "CUT_FROM", None) for reader in (first, second)]
    return programmes[0] if programmes[0] == programmes[1] else None


def _ids(reader: str) -> Ids:
    return readers.constant(reader, "IDS", Ids.dataset)


def _local_id(record: Record, reader: str) -> str:
    """A record's id without dataset, and without split unless ids restart in each."""
    local_id = record.id.removeprefix(f"{record.dataset}/")
    return local_id if _ids(reader) is Ids.split else local_id.removeprefix(f"{record.split}/")
