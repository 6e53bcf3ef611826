"""Findings about the measurements of clips."""

from collections.abc import Iterator, Mapping, Sequence

from affect.data.audit.clips import BLACK_AREA, BLACK_LUMA, NUM_FRAMES, Measurement
from affect.data.audit.findings import about
from affect.data.facts import Finding, Records, Severity
from affect.data.media import NOTES, OUTCOMES
from affect.data.overlap import same_clips, window
from affect.data.record import Record

SILENT_DBFS = -70.0
"""Sound below it counts as silent. The quietest of 720 RAVDESS recordings, whispered but clear, has -64."""

MOSTLY_BLACK = 0.5
"""Share of black frames from which a clip is reported: fades and cuts stay below."""

SHORT_SECONDS = 0.3
"""A clip below it is shorter than one spoken word."""


def clips(
    by_split: Records, measured: Mapping[str, Measurement], known_bad: Mapping[str, str], *, max_seconds: float
) -> Iterator[Finding]:
    """Clips that cannot be used, by outcome, then usable clips that may mislead. `known_bad` are ids of clips that
    every copy lacks or has damaged: they are no error of this one."""
    records = [record for of_split in by_split.values() for record in of_split if record.id in measured]
    if records and all(record.media is None for record in records):
        yield from about(
            Severity.error,
            records,
            "there are no clips: no record has a file",
            "put the clips where the reader looks for them (its module in affect/data/readers shows the folders), or"
            " examine the annotations alone with modalities=t",
        )
        return
    for outcome, remedy in OUTCOMES.items():
        usable = outcome in ("no_audio", "no_video", "too_long")
        bad = [record for record in records if outcome in measured[record.id].outcomes]
        for in_every_copy in (False, True):
            of_kind = [record for record in bad if (record.id in known_bad) == in_every_copy]
            detail = measured[of_kind[0].id].outcomes[outcome] if of_kind else ""
            yield from about(
                Severity.note if in_every_copy else Severity.warning if usable else Severity.error,
                of_kind,
                f"{outcome}{', as in every copy' if in_every_copy else ''} (the first: {detail})",
                "none: they are known, and left out of runs that need their clip" if in_every_copy else remedy,
            )
    for note, meaning in NOTES.items():
        noted = [record for record in records if note in measured[record.id].notes]
        detail = measured[noted[0].id].notes[note] if noted else ""
        remedy = "none where that is right; else get the files again"
        yield from about(Severity.note, noted, f"{meaning} (the first: {detail})", remedy)
    yield from _misleading(records, measured, max_seconds)
    yield from _same_content(records, measured)


def _misleading(
    records: Sequence[Record], measured: Mapping[str, Measurement], max_seconds: float
) -> Iterator[Finding]:
    """Clips that can be decoded and may mislead: silent, black, long, short."""
    seconds = {r.id: value for r in records if (value := measured[r.id].seconds) is not None}
    yield from about(
        Severity.warning,
        [r for r in records if (value := measured[r.id].level) is not None and value < SILENT_DBFS],
        f"the sound is below {SILENT_DBFS:g} dBFS",
        "listen to them: restore the sound, or take them out of the table",
    )
    yield from about(
        Severity.warning,
        [r for r in records if (value := measured[r.id].black) is not None and value >= MOSTLY_BLACK],
        f"at least {MOSTLY_BLACK:.0%} of {NUM_FRAMES} frames are black ({BLACK_AREA:.0%} of the pixels up to"
        f" {BLACK_LUMA:.0%} of full luma)",
        "look at them: get the clips again, or leave the letter v out of modalities",
    )
    yield from about(
        Severity.warning,
        [record for record in records if record.id in seconds and seconds[record.id] > max_seconds],
        f"longer than model.max_seconds={max_seconds:g}, so that runs leave them out",
        "raise model.max_seconds, or cut them to their utterance",
    )
    yield from about(
        Severity.warning,
        [record for record in records if record.id in seconds and seconds[record.id] < SHORT_SECONDS],
        f"shorter than {SHORT_SECONDS:g} s, less than a word",
        "correct start and end, or take them out of the table",
    )


def _same_content(records: Sequence[Record], measured: Mapping[str, Measurement]) -> Iterator[Finding]:
    """Records whose clip is that of another, whatever its file is called: see overlap.same_clips."""
    contents = {r.id: content for r in records if (content := measured[r.id].content) is not None}
    pairs = [(a, b) for a, b in same_clips(records, records, (contents, contents)) if a.id < b.id]
    across = {r.id for a, b in pairs if a.split != b.split for r in (a, b)}
    # Utterances of one split may run into each other.
    within = {r.id for a, b in pairs if window(a) == window(b) for r in (a, b)} - across
    yield from about(
        Severity.error,
        [record for record in records if record.id in across],
        "the same clip, by content, is in more than one split",
        "leave it in one split, since what is trained on cannot test: runs are refused unless"
        " datasets.NAME.cross_split_duplicates=exclude or allow",
    )
    yield from about(
        Severity.warning,
        [record for record in records if record.id in within],
        "the same clip, by content, under several ids",
        "leave one of them, or get the clips again: one of the ids has another's clip",
    )
