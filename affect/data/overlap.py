"""Which clips two datasets share. Published datasets contain each other, and a clip used in training cannot be used to
test."""

import math
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from affect.data.record import Record

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


MIN_OVERLAP = 0.1
"""Seconds. Two windows of one recording that have more than this in common are the same clip; annotated times are
rounded, so neighbours may touch."""


DIGITS = 32
"""128 bits: a run folder keeps three or so of these hashes a clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a media file holds, whatever it is called. Hashes are the first DIGITS hexadecimal digits of SHA-256s."""

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
"""By record id; a record whose file was not looked at, or cannot be read, is absent."""


def overlap(
    first: Sequence[Record],
    second: Sequence[Record],
    readers: tuple[str, str],
    contents: tuple[Contents, Contents] = ({}, {}),
) -> list[tuple[Record, Record]]:
    """Every pair of a record of `first` and one of `second` that are the same clip, in the order of `second`.

    Records are the same clip where their ids are, within one collection (see FAMILIES; any other reader is its own), or
    where `same_clips` finds them to be. `readers` are those of the datasets that the two sides are of, `contents` what
    is known of the files of each side.
    """
    known: dict[Hashable, list[Record]] = defaultdict(list)
    for record in first:
        for key in _keys(record, readers[0]):
            known[key].append(record)
    by_id = [(other, record) for record in second for key in _keys(record, readers[1]) for other in known.get(key, ())]
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
    real: dict[str, str] = {}
    for side, records, known in zip(sides, (first, second), contents, strict=True):
        for record in records:
            if record.media is not None:
                path = real.get(record.media) or real.setdefault(record.media, os.path.realpath(record.media))
                side["path", path].append(record)
            if (content := known.get(record.id)) is not None:
                side["bytes", content.sha256].append(record)
                for track in content.audio:
                    side["audio", track].append(record)
                for track in content.video:
                    side["video", track].append(record)
    found = []
    for key in sides[0].keys() & sides[1].keys():
        for pair in _overlapping(sides[0][key], sides[1][key]):
            if key[0] == "path" or contents[0][pair[0].id].holds_the_same_as(contents[1][pair[1].id]):
                found.append(pair)
    return _in_order(found, second)


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
    """Whether two different readers read published sets that are known to share clips."""
    return first != second and first in FAMILIES and FAMILIES[first] == FAMILIES.get(second)


def shared_source(first: str, second: str) -> str | None:
    """The programme that two readers' sets are both cut from without a way to tell which scenes they share."""
    if first == second or related(first, second):
        return None
    return next((name for name, readers in SOURCES.items() if {first, second} <= readers), None)


def _keys(record: Record, reader: str) -> Iterator[Hashable]:
    if reader not in WITHOUT_PUBLISHED_IDS:
        own = record.id.removeprefix(f"{record.dataset}/")
        if reader not in SPLIT_IS_PART_OF_ID:
            own = own.removeprefix(f"{record.split}/")
        yield FAMILIES.get(reader, reader), own
