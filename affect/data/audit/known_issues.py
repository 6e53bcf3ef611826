"""Known issues of published datasets, and whether this copy has them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from affect.data.audit.findings import Finding, Records, Severity
from affect.data.readers import meld
from affect.data.record import Record

MISALIGNED_VIDEOS = frozenset({"-mJ2ud6oKI8", "0BVed2nBq1g"})
"""Of CMU-MOSEI: the times of the publisher are wrong (https://github.com/thuiar/MMSA/issues/66)."""


def known_bad(reader: str, name: str) -> dict[str, str]:
    """Reason by id, of the clips that are missing, damaged or wrongly cut in every copy. `name` is what the
    configuration calls the dataset, as ids begin with it."""
    lists = {"meld": meld.UNUSABLE | meld.MISCUT | meld.BAD_SOUND}
    return {_own(id, name): reason for id, reason in lists[reader].items()} if reader in lists else {}


def quirks(reader: str, name: str, root: Path, by_split: Records) -> Iterator[Finding]:
    """What is known of the reader's set and found here. Raises DataError as the reader does."""
    if reader in _QUIRKS:
        yield from _QUIRKS[reader](name, root, by_split)


def _own(id: str, name: str) -> str:
    return f"{name}/{id.split('/', 1)[1]}"


def _note(what: str, ids: list[str], remedy: str, count: int | None = None) -> Finding:
    return Finding(
        severity=Severity.note, what=what, count=len(ids) if count is None else count, remedy=remedy, ids=tuple(ids)
    )


def _meld(name: str, root: Path, by_split: Records) -> Iterator[Finding]:
    present = {record.id for records in by_split.values() for record in records}
    for bad, what, remedy in (
        (meld.UNUSABLE, "known: no readable clip in any copy", "none: runs that need the clip leave them out"),
        (meld.MISCUT, "known: clips cut minutes too long", "none: model.max_seconds leaves them out"),
        (
            meld.BAD_SOUND,
            "known: clips that decode with bad sound",
            "leave them out of a manifest of your own if sound matters; about 200 of train are like the first",
        ),
    ):
        ids = [_own(id, name) for id in bad if _own(id, name) in present]
        if ids:
            yield _note(f"{what} ({'; '.join(bad.values())})", ids, remedy)
    for split, records in by_split.items():
        yield from _dialogues(split, records)
        extra = meld.unlabelled_clips(root, split)
        if extra:
            yield _note(
                f"{split}: clips that no row of the table stands for: {', '.join(extra[:5])}",
                [],
                "none: they are not read",
                len(extra),
            )


def _dialogues(split: str, records: list[Record]) -> Iterator[Finding]:
    """Dialogue ids that are not given out, and dialogues whose utterances are not numbered 0, 1, 2, …"""
    utterances: dict[int, list[int]] = defaultdict(list)
    for record in records:
        dialogue, utterance = record.id.rsplit("/", 2)[1:]
        utterances[int(dialogue)].append(int(utterance))
    absent = sorted(set(range(max(utterances))) - utterances.keys())
    gaps = [dialogue for dialogue, numbers in utterances.items() if sorted(numbers) != list(range(len(numbers)))]
    total = f"{len(utterances):,} dialogues"
    if absent:
        yield _note(
            f"{split}: {total}; ids not given out: {', '.join(map(str, absent))}",
            [],
            "none: it is so in the published table",
            len(absent),
        )
    if gaps:
        yield _note(
            f"{split}: {len(gaps)} of {total} do not number their utterances 0, 1, 2, …: {gaps[:5]}",
            [],
            "none: the context is made by order, not by number",
            len(gaps),
        )


def _mosei(name: str, root: Path, by_split: Records) -> Iterator[Finding]:
    ids = [r.id for records in by_split.values() for r in records if r.group in MISALIGNED_VIDEOS]
    if ids:
        yield _note(
            f"known: wrong times, clip and transcript do not belong together ({', '.join(sorted(MISALIGNED_VIDEOS))})",
            ids,
            "look at them before a claim about clips of these videos; more are like them",
        )


def _mintrec(name: str, root: Path, by_split: Records) -> Iterator[Finding]:
    ids = [r.id for records in by_split.values() for r in records if r.labels["intent"] == "Apologise"]
    if ids:
        yield _note("the label is spelled Apologise; the publishers' README has Apologize", ids, "none: both are known")


def _mustard(name: str, root: Path, by_split: Records) -> Iterator[Finding]:
    shows = Counter(record.group.split("/")[0] for records in by_split.values() for record in records)
    published = {"FRIENDS": 356, "BBT": 280, "GOLDENGIRLS": 40, "SARCASMOHOLICS": 14}
    told = ", ".join(f"{show} {count}" for show, count in shows.most_common())
    if shows == published:
        yield _note(f"shows, as published: {told}", [], "none: one show can be tested on, the speakers then are new", 4)
        return
    yield Finding(
        severity=Severity.warning,
        what=f"shows: {told}, published are {', '.join(f'{show} {count}' for show, count in published.items())}",
        count=sum(abs(shows[show] - published.get(show, 0)) for show in {*shows, *published}),
        remedy="complete the copy, or say that it differs",
    )


def _simsv2(name: str, root: Path, by_split: Records) -> Iterator[Finding]:
    off = [
        record.id
        for records in by_split.values()
        for record in records
        if "sentiment" in record.labels
        and abs(5 * record.labels["sentiment"] - round(5 * record.labels["sentiment"])) > 1e-6
    ]
    if off:
        yield _note("known: a label that is no multiple of 0.2", off, "none: it is kept as published")


_QUIRKS: Mapping[str, Callable[[str, Path, Records], Iterator[Finding]]] = {
    "meld": _meld,
    "mintrec": _mintrec,
    "mosei": _mosei,
    "mustard": _mustard,
    "simsv2": _simsv2,
}
