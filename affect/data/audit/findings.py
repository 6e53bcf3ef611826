"""Findings about a dataset's records and the measurements of their clips."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from affect.config import DatasetConfig, Kind
from affect.data import readers
from affect.data.audit.clips import BLACK_AREA, BLACK_LUMA, NUM_FRAMES, Measurement
from affect.data.counts import classes
from affect.data.facts import NUM_EXAMPLES, Finding, Published, Records, Severity
from affect.data.labels import is_written_for_nothing
from affect.data.media import NOTES, OUTCOMES
from affect.data.overlap import same_clips, window
from affect.data.problems import Excluded
from affect.data.published_texts import text_hash
from affect.data.record import Record

SILENT_DBFS = -70.0
"""Sound below it counts as silent. The quietest of 720 RAVDESS recordings, whispered but clear, has -64."""

MOSTLY_BLACK = 0.5
"""Share of black frames from which a clip is reported: fades and cuts stay below."""

SHORT_SECONDS = 0.3
"""A clip below it is shorter than one spoken word."""

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


def _of(severity: Severity, what: str, records: Sequence[Record] | Sequence[str], remedy: str) -> Finding:
    ids = tuple(each if isinstance(each, str) else each.id for each in records)
    return Finding(severity=severity, what=what, count=len(ids), remedy=remedy, ids=ids)


def note(what: str, remedy: str) -> Finding:
    """A note that is about no records."""
    return Finding(severity=Severity.note, what=what, count=0, remedy=remedy)


# ---------------------------------------------------------------- annotations


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
            found = classes(records, config.task_definitions[name])
            wrong = {label: count for label, count in counts.items() if found.get(label) != count}
            # Missing records are a finding already.
            if wrong and len(records) == each.count:
                told = ", ".join(f"{label} {found.get(label, 0):,} for {count:,}" for label, count in wrong.items())
                yield Finding(
                    severity=severity,
                    what=f"{where}: the classes of {name} are not those that are published: {told}",
                    count=len(wrong),
                    remedy="take the annotations from the publisher again, or say that these were changed",
                )


def left_out(excluded: Sequence[Excluded], complete: set[str]) -> Iterator[Finding]:
    """Exclusions of the reader, by reason. `complete` are the splits that are as large as published without them."""
    wrong = [item for item in excluded if item.bad_row]
    if wrong:
        yield Finding(
            severity=Severity.warning,
            what=f"{_splits(wrong)}: rows that are wrong and left out (on_bad_rows=exclude), the first:"
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
    for (alike, known), items in by_reason.items():
        reason = items[0].reason if len({item.reason for item in items}) == 1 else alike
        yield Finding(
            severity=Severity.note if known else Severity.warning,
            what=f"{_splits(items)}: the reader leaves out: {reason}",
            count=sum(item.count for item in items),
            remedy="none: the split is as published without them"
            if known
            else f"complete the copy; see {items[0].source}",
            ids=tuple(item.id for item in items),
        )


def known_issues(name: str, config: DatasetConfig, by_split: Records) -> Iterator[Finding]:
    """Issues that the reader declares and that records of this copy have, then what its `audit` finds."""
    records = [record for of_split in by_split.values() for record in of_split]
    for issue in readers.constant(config.reader, "KNOWN_ISSUES", ()):
        clips = _named(issue.clips, name)
        affected = [record for record in records if record.id in clips or issue.applies(record)]
        if affected:
            reasons = f" ({'; '.join(issue.clips.values())})" if issue.clips else ""
            yield _of(Severity.note, f"known: {issue.what}{reasons}", affected, issue.remedy)
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
    everything = [record for records in by_split.values() for record in records]
    if "t" in config.modalities:
        empty = [record for record in everything if not record.text.strip()]
        if empty:
            yield _of(
                Severity.warning,
                f"{_splits(empty)}: the transcript is empty",
                empty,
                "transcribe these clips, or take them out of the table; with modalities=t they say nothing",
            )
    nothing = [record for record in everything if is_written_for_nothing(record.text)]
    if nothing:
        yield _of(
            Severity.warning,
            f"{_splits(nothing)}: the transcript is '{nothing[0].text.strip()}', which pandas and spreadsheets write"
            " for an empty cell",
            nothing,
            "leave these cells empty, or transcribe the clips: prompts would quote the word",
        )
    for pattern, what in (
        (DAMAGED, "the transcript has characters of a wrongly read encoding"),
        (LOST, "the transcript has ? inside words, where an apostrophe or an accent was lost"),
    ):
        damaged = [record for record in everything if _is_damaged(record.text, pattern)]
        for known in (False, True):
            some = [
                record
                for record in damaged
                if (published is not None and text_hash(record, config.reader) in published) == known
            ]
            if not some:
                continue
            example = next((found[0] for r in some if (found := _AROUND[pattern].search(r.text))), some[0].text[:30])
            yield _of(
                Severity.note if known else Severity.warning,
                f"{_splits(some)}: {what} (the first: {example!r}){', as in the published file' if known else ''}",
                some,
                "none: it is so in the published file"
                if known
                else "take the table from its publisher again, or repair the encoding, and say so with the results",
            )
    foreign = [record for record in everything if not record.text.isascii()] if config.language == "en" else []
    if foreign:
        common = Counter(character for record in foreign for character in record.text if not character.isascii())
        shown = ", ".join(f"U+{ord(character):04X} {count:,}" for character, count in common.most_common(4))
        yield _of(
            Severity.note,
            f"{_splits(foreign)}: an English transcript is not ASCII ({shown})",
            foreign,
            "none where these are typographic quotes and dashes: they are kept as published; other copies replace them",
        )


def published_texts(by_split: Records, config: DatasetConfig, published: Collection[bytes] | None) -> Iterator[Finding]:
    """Texts that are not those of the published file, where that is known (see published_texts.text_hashes)."""
    for split, records in by_split.items() if published is not None else ():
        other = [record for record in records if text_hash(record, config.reader) not in published]
        if other:
            yield _of(
                Severity.error,
                f"{split}: {len(other):,} of {len(records):,} texts differ from the published file, quotes and dashes"
                " of other shapes and white space aside",
                other,
                "take the table from its publisher again, or say in every result that the texts are others",
            )


def labels(by_split: Records, config: DatasetConfig) -> Iterator[Finding]:
    """Classes without a clip, and clips without a label. Labels outside the closed set or range are refused earlier."""
    for name in config.tasks:
        task = config.task_definitions[name]
        for split, records in by_split.items():
            without = [record for record in records if name not in record.labels]
            if without:
                yield _of(
                    Severity.error if len(without) == len(records) and split == "train" else Severity.warning,
                    f"{split}: no label for {name}",
                    without,
                    "label them, or take the task out of the dataset's tasks; they are predicted and not scored",
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
    if twins:
        yield _of(
            Severity.note,
            f"{_splits(twins)}: text and label are those of a record of an earlier split",
            twins,
            "none where people say the same in other clips; what a model of text alone knows by heart is among them",
        )


# ---------------------------------------------------------------- clips


def clips(
    by_split: Records,
    measured: Mapping[str, Measurement],
    known_bad: Mapping[str, str],
    *,
    max_seconds: float,
) -> Iterator[Finding]:
    """Clips that cannot be used, by outcome, then usable clips that may mislead. `known_bad` are ids of clips that
    every copy lacks or has damaged: they are no error of this one."""
    everything = [record for records in by_split.values() for record in records if record.id in measured]
    without = [record for record in everything if record.media is None]
    if everything and len(without) == len(everything):
        yield _of(
            Severity.error,
            "there are no clips: no record has a file",
            without,
            "put the clips where the reader looks for them (its module in affect/data/readers shows the folders), or"
            " examine the annotations alone with modalities=t",
        )
        return
    for outcome, remedy in OUTCOMES.items():
        bad = [record for record in everything if outcome in measured[record.id].outcomes]
        for known in (False, True):
            some = [record for record in bad if (record.id in known_bad) == known]
            if not some:
                continue
            usable = outcome in ("no_audio", "no_video", "too_long")
            severity = Severity.note if known else Severity.warning if usable else Severity.error
            detail = measured[some[0].id].outcomes[outcome]
            yield _of(
                severity,
                f"{_splits(some)}: {outcome}{', as in every copy' if known else ''} (the first: {detail})",
                some,
                "none: they are known, and left out of runs that need their clip" if known else remedy,
            )
    for note, meaning in NOTES.items():
        some = [record for record in everything if note in measured[record.id].notes]
        if some:
            detail = measured[some[0].id].notes[note]
            yield _of(
                Severity.note,
                f"{_splits(some)}: {meaning} (the first: {detail})",
                some,
                "none where that is right; else get the files again",
            )
    yield from _odd(everything, measured, max_seconds)
    yield from _same_content(everything, measured)


def _odd(everything: Sequence[Record], measured: Mapping[str, Measurement], max_seconds: float) -> Iterator[Finding]:
    """Clips that can be decoded and may mislead: silent, black, long, short."""
    silent = [r for r in everything if (value := measured[r.id].level) is not None and value < SILENT_DBFS]
    black = [r for r in everything if (value := measured[r.id].black) is not None and value >= MOSTLY_BLACK]
    seconds = {r.id: value for r in everything if (value := measured[r.id].seconds) is not None}
    long = [r for r in everything if r.id in seconds and seconds[r.id] > max_seconds]
    short = [r for r in everything if r.id in seconds and seconds[r.id] < SHORT_SECONDS]
    for found, what, remedy in (
        (
            silent,
            f"the sound is below {SILENT_DBFS:g} dBFS",
            "listen to them: restore the sound, or take them out of the table",
        ),
        (
            black,
            f"at least {MOSTLY_BLACK:.0%} of {NUM_FRAMES} frames are black ({BLACK_AREA:.0%} of the pixels up to"
            f" {BLACK_LUMA:.0%} of full luma)",
            "look at them: get the clips again, or leave the letter v out of modalities",
        ),
        (
            long,
            f"longer than model.max_seconds={max_seconds:g}, so that runs leave them out",
            "raise model.max_seconds, or cut them to their utterance",
        ),
        (
            short,
            f"shorter than {SHORT_SECONDS:g} s, less than a word",
            "correct start and end, or take them out of the table",
        ),
    ):
        if found:
            yield _of(Severity.warning, f"{_splits(found)}: {what}", found, remedy)


def _same_content(everything: Sequence[Record], measured: Mapping[str, Measurement]) -> Iterator[Finding]:
    """Records whose clip is that of another, whatever its file is called: see overlap.same_clips."""
    contents = {r.id: content for r in everything if (content := measured[r.id].content) is not None}
    pairs = [(a, b) for a, b in same_clips(everything, everything, (contents, contents)) if a.id < b.id]
    involved = {r.id for a, b in pairs if a.split != b.split for r in (a, b)}
    # Utterances of one split may run into each other.
    repeated = {r.id for a, b in pairs if window(a) == window(b) for r in (a, b)} - involved
    across = [record for record in everything if record.id in involved]
    within = [record for record in everything if record.id in repeated]
    if across:
        yield _of(
            Severity.error,
            "the same clip, by content, is in more than one split",
            across,
            "leave it in one split, since what is trained on cannot test: runs are refused unless"
            " datasets.NAME.cross_split_duplicates=exclude or allow",
        )
    if within:
        yield _of(
            Severity.warning,
            f"{_splits(within)}: the same clip, by content, under several ids",
            within,
            "leave one of them, or get the clips again: one of the ids has another's clip",
        )


# ---------------------------------------------------------------- wording


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


def _splits(items: Sequence[Record] | Sequence[Excluded]) -> str:
    """`train 2,740, val 308`: how many of the items each split has."""
    counts: Counter[str] = Counter()
    for item in items:
        counts[item.split] += item.count if isinstance(item, Excluded) else 1
    return ", ".join(f"{split} {count:,}" for split, count in counts.items())
