"""Findings about the annotations of a dataset."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from affect.config import DatasetConfig, Kind
from affect.data import readers
from affect.data.counts import classes
from affect.data.facts import NUM_EXAMPLES, Finding, Published, Records, Severity
from affect.data.labels import is_written_for_nothing
from affect.data.problems import Excluded
from affect.data.published_texts import text_hash
from affect.data.record import Record

# What cp1252 makes of the bytes 0x80 to 0xbf, of which all but the first byte of a character in UTF-8 is one.
_REST = "[" + bytes(byte for byte in range(0x80, 0xC0) if byte not in b"\x81\x8d\x8f\x90\x9d").decode("cp1252") + "]"

DAMAGED = re.compile(
    "|".join(
        (
            "[\ufffd\x80-\x9f]",  # U+FFFD where a decoder gave up; cp1252 as Latin-1 (U+0080 to U+009F)
            "(?<=[a-z])Õ(?=[a-z])",  # MacRoman as Latin-1: donÕt
            # UTF-8 as cp1252, cp1257, cp1251, MacRoman, cp437 and GBK: quotes, dashes and the ellipsis begin so
            "[âā]€|вЂ|\u201aÄ|ΓÇ|鈥",
            f"[ÂÃ]{_REST}|â{_REST}{{2}}|ð{_REST}{{3}}",  # as cp1252: accents, symbols, emoji
            f"(?:[ÐÑ]{_REST}){{3}}|(?:[ä-é]{_REST}{{2}}){{2}}",  # as cp1252: Cyrillic, Chinese
            r"&(?:#\d{2,6}|#x[0-9a-fA-F]{2,5}|amp|apos|quot|lt|gt|nbsp|[lr][sd]quo|[mn]dash|hellip);",
            r"\\u[0-9a-fA-F]{4}|\\x[89a-fA-F][0-9a-fA-F]",  # escapes that were never resolved
        )
    )
)
"""Traces of characters that were read in another encoding than they were written in, or never decoded."""

LOST = re.compile(r"(?<=[^\W\d_])\?(?=[a-z\u00df-\u00f6\u00f8-\u024f])")
"""A question mark inside a word (don?t, na?ve), which replaced an apostrophe or an accent. A capital after it is a
missing space (What?No)."""

_AROUND = {pattern: re.compile(rf"\S*(?:{pattern.pattern})\S*") for pattern in (DAMAGED, LOST)}
"""The damaged word, for examples."""


def about(severity: Severity, records: Sequence[Record], what: str, remedy: str) -> Iterator[Finding]:
    """A finding about records, with their number by split; none where there are none."""
    if records:
        ids = tuple(record.id for record in records)
        yield Finding(severity=severity, what=f"{in_splits(records)}: {what}", count=len(ids), remedy=remedy, ids=ids)


def note(what: str, remedy: str) -> Finding:
    """A note that is about no records."""
    return Finding(severity=Severity.note, what=what, count=0, remedy=remedy)


def sizes(by_split: Records, wanted: Sequence[Published], config: DatasetConfig) -> Iterator[Finding]:
    """Counts that are not the published ones. Splits that could not be read are reported elsewhere."""
    for each in wanted:
        if not set(each.splits) <= by_split.keys():
            continue
        records = [record for split in each.splits for record in by_split[split]]
        where = " and ".join(each.splits)
        published = "published" if each.exact else "about published"
        severity = Severity.error if each.exact else Severity.warning
        if len(records) != each.count:
            yield Finding(
                severity=severity,
                what=f"{where}: {len(records):,} clips, {each.count:,} {published}",
                count=abs(len(records) - each.count),
                remedy="complete the copy, or say in every result that it is of other clips than published ones",
            )
        for name, counts in each.classes.items():
            if not any(name in record.labels for record in records):
                continue
            counted = classes(records, config.task_definitions[name])
            wrong = {label: count for label, count in counts.items() if counted.get(label) != count}
            # Missing records are a finding already.
            if wrong and len(records) == each.count:
                differences = ", ".join(
                    f"{label} {counted.get(label, 0):,} for {count:,}" for label, count in wrong.items()
                )
                yield Finding(
                    severity=severity,
                    what=f"{where}: the classes of {name} are not those that are published: {differences}",
                    count=len(wrong),
                    remedy="take the annotations from the publisher again, or say that these were changed",
                )


def left_out(excluded: Sequence[Excluded], complete: set[str]) -> Iterator[Finding]:
    """Exclusions of the reader, by reason. `complete` are the splits that are as large as published without them."""
    wrong = [item for item in excluded if item.bad_row]
    if wrong:
        yield Finding(
            severity=Severity.warning,
            what=f"{in_splits(wrong)}: rows that are wrong and left out (on_bad_rows=exclude), the first:"
            f" {wrong[0].source}: {wrong[0].reason}",
            count=sum(item.count for item in wrong),
            remedy="correct them; until then results are of fewer clips than the table has, and say so",
            ids=tuple(item.id for item in wrong),
        )
    by_reason: dict[tuple[str, bool], list[Excluded]] = defaultdict(list)
    for item in excluded:
        if item.bad_row:
            continue
        # Without numbers: else each of a thousand missing files would be a finding.
        by_reason[re.sub(r"\d+", "…", item.reason), item.split in complete].append(item)
    for (alike, is_published), items in by_reason.items():
        reason = items[0].reason if len({item.reason for item in items}) == 1 else alike
        yield Finding(
            severity=Severity.note if is_published else Severity.warning,
            what=f"{in_splits(items)}: the reader leaves out: {reason}",
            count=sum(item.count for item in items),
            remedy="none: the split is as published without them"
            if is_published
            else f"complete the copy; see {items[0].source}",
            ids=tuple(item.id for item in items),
        )


def known_issues(name: str, config: DatasetConfig, by_split: Records) -> Iterator[Finding]:
    """Issues that the reader declares and that records of this copy have, then what its `audit` finds."""
    records = [record for of_split in by_split.values() for record in of_split]
    for issue in readers.constant(config.reader, "KNOWN_ISSUES", ()):
        clips = _named(issue.clips, name)
        affected = [record for record in records if record.id in clips or issue.applies(record)]
        reasons = f" ({'; '.join(issue.clips.values())})" if issue.clips else ""
        yield from about(Severity.note, affected, f"known: {issue.what}{reasons}", issue.remedy)
    audit = readers.constant(config.reader, "audit", None)
    if audit is not None:
        yield from audit(Path(config.root).expanduser(), by_split)


def known_clips(name: str, reader: str) -> dict[str, str]:
    """By record id, what is wrong with the clips that are missing, damaged or wrongly cut in every copy."""
    issues = readers.constant(reader, "KNOWN_ISSUES", ())
    return {id: reason for issue in issues for id, reason in _named(issue.clips, name).items()}


def _named(clips: Mapping[str, str], name: str) -> dict[str, str]:
    """`clips`, whose ids begin with the reader's name, with the name that the configuration gives to the dataset."""
    return {f"{name}/{id.split('/', 1)[1]}": reason for id, reason in clips.items()}


def texts(by_split: Records, config: DatasetConfig, published: Collection[bytes] | None = None) -> Iterator[Finding]:
    """Transcripts that are empty, or in an English set not ASCII; damaged encodings in any. `published` has the hashes
    of the published texts where they are known (see published_texts.text_hashes): damage in these too is a note."""
    records = [record for of_split in by_split.values() for record in of_split]
    if "t" in config.modalities:
        yield from about(
            Severity.warning,
            [record for record in records if not record.text.strip()],
            "the transcript is empty",
            "transcribe these clips, or let a speech recogniser do so (datasets.X.transcribe=missing); with"
            " modalities=t they say nothing",
        )
    if missing := [record for record in records if is_written_for_nothing(record.text)]:
        yield from about(
            Severity.warning,
            missing,
            f"the transcript is '{missing[0].text.strip()}', which pandas and spreadsheets write for an empty cell",
            "leave these cells empty, or transcribe the clips: prompts would quote the word",
        )
    for pattern, what in (
        (DAMAGED, "the transcript has characters of a wrongly read encoding"),
        (LOST, "the transcript has ? inside words, where an apostrophe or an accent was lost"),
    ):
        damaged = [record for record in records if _is_damaged(record.text, pattern)]
        as_published, other = [], []
        for record in damaged:
            same = published is not None and text_hash(record, config.reader) in published
            (as_published if same else other).append(record)
        yield from about(
            Severity.warning,
            other,
            f"{what}{_example(other, pattern)}",
            "take the table from its publisher again, or repair the encoding, and say so with the results",
        )
        yield from about(
            Severity.note,
            as_published,
            f"{what}{_example(as_published, pattern)}, as in the published file",
            "none: it is so in the published file",
        )
    foreign = [record for record in records if not record.text.isascii()] if config.language == "en" else []
    common = Counter(character for record in foreign for character in record.text if not character.isascii())
    shown = ", ".join(f"U+{ord(character):04X} {count:,}" for character, count in common.most_common(4))
    yield from about(
        Severity.note,
        foreign,
        f"an English transcript is not ASCII ({shown})",
        "none where these are typographic quotes and dashes: they are kept as published; other copies replace them",
    )


def _example(records: Sequence[Record], pattern: re.Pattern[str]) -> str:
    """The first damaged word, in parentheses."""
    words = (match[0] for record in records if (match := _AROUND[pattern].search(record.text)))
    return f" (the first: {next(words, records[0].text[:30])!r})" if records else ""


def published_texts(by_split: Records, config: DatasetConfig, published: Collection[bytes] | None) -> Iterator[Finding]:
    """Texts that are not those of the published file, where that is known (see published_texts.text_hashes)."""
    for split, records in by_split.items() if published is not None else ():
        other = [record for record in records if text_hash(record, config.reader) not in published]
        if other:
            yield Finding(
                severity=Severity.error,
                what=f"{split}: {len(other):,} of {len(records):,} texts differ from the published file, quotes and"
                " dashes of other shapes and white space aside",
                count=len(other),
                remedy="take the table from its publisher again, or say in every result that the texts are others",
                ids=tuple(record.id for record in other),
            )


def labels(by_split: Records, config: DatasetConfig) -> Iterator[Finding]:
    """Classes without a clip, and clips without a label. Labels outside the closed set or range are refused earlier."""
    for name in config.tasks:
        task = config.task_definitions[name]
        for split, records in by_split.items():
            without = [record for record in records if name not in record.labels]
            if without:
                yield Finding(
                    severity=Severity.error if len(without) == len(records) and split == "train" else Severity.warning,
                    what=f"{split}: no label for {name}",
                    count=len(without),
                    remedy="label them, or take the task out of the dataset's tasks; they are predicted and not scored",
                    ids=tuple(record.id for record in without),
                )
            if len(without) == len(records) or task.kind is Kind.intensity:
                continue
            absent = [label for label, count in classes(records, task).items() if not count]
            if absent:
                yield Finding(
                    severity=Severity.warning,
                    what=f"{split}: no clip of {name} is {', '.join(absent)}",
                    count=len(absent),
                    remedy="a class without clips cannot be learnt or scored, and averages over classes leave it out:"
                    " complete the copy, or say so",
                )


def shared(by_split: Records, config: DatasetConfig) -> Iterator[Finding]:
    """Speakers, groups and texts that are in several splits."""
    speakers = _in_several({split: {r.speaker for r in rs if r.speaker is not None} for split, rs in by_split.items()})
    if speakers:
        severity = Severity.error if config.speaker_independent else Severity.note
        remedy = (
            "leave each speaker in one split: the configuration says speaker_independent, and a run is refused"
            if config.speaker_independent
            else "none if this is the published split: say that results are on known speakers"
        )
        yield Finding(
            severity=severity,
            what=f"speakers in more than one split: {_some(sorted(speakers))}",
            count=len(speakers),
            remedy=remedy,
        )
    groups = _in_several({split: {r.group for r in rs} for split, rs in by_split.items()})
    if groups and groups != speakers:
        total = len({record.group for records in by_split.values() for record in records})
        yield Finding(
            severity=Severity.warning,
            what=f"{len(groups):,} of {total:,} groups (video, dialogue, episode) are in more than one split:"
            f" {_some(sorted(groups))}",
            count=len(groups),
            remedy="split by group, or say that the test has scenes, rooms and voices that training has too",
        )
    seen: dict[tuple[str, tuple], str] = {}
    twins = []
    for split, records in by_split.items():
        for record in records:
            said = " ".join(record.text.split()).casefold()
            key = said, tuple(sorted((task, record.labels[task]) for task in config.tasks if task in record.labels))
            if said and seen.setdefault(key, split) != split:
                twins.append(record)
    yield from about(
        Severity.note,
        twins,
        "text and label are those of a record of an earlier split",
        "none where people say the same in other clips; what a model of text alone knows by heart is among them",
    )


def _is_damaged(text: str, pattern: re.Pattern[str]) -> bool:
    # Nothing but question marks is left of a text in another script; "??" is what somebody may have written.
    only_marks = pattern is LOST and text.count("?") >= 3 and not re.search(r"\w", text)
    return only_marks or pattern.search(text) is not None


def _in_several(by_split: Mapping[str, set]) -> set:
    counts = Counter(one for members in by_split.values() for one in members)
    return {one for one, count in counts.items() if count > 1}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_EXAMPLES:,} more" if len(names) > NUM_EXAMPLES else ""
    return ", ".join(names[:NUM_EXAMPLES]) + more


def in_splits(items: Sequence[Record] | Sequence[Excluded]) -> str:
    """`train 2,740, val 308`: how many of the items each split has."""
    counts: Counter[str] = Counter()
    for item in items:
        counts[item.split] += item.count if isinstance(item, Excluded) else 1
    return ", ".join(f"{split} {count:,}" for split, count in counts.items())
