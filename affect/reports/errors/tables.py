"""The tables of an error analysis, in the style of a format, and the sentences beside them."""

from collections.abc import Iterator, Sequence

from affect.evaluation.error_analysis.clips import CLOSE
from affect.evaluation.error_analysis.slices import Slice
from affect.evaluation.significance import LEVEL
from affect.reports.errors.results import Changes, Clip, Confusion, ErrorAnalysis
from affect.reports.sections import NOT_APPLICABLE, Column, Section, Style, ends, four, numbered, p_value

LONGEST = 60
"""Characters of a transcript or an answer in a table; JSON and CSV have all of them."""


def sections(analysis: ErrorAnalysis, style: Style, most: int) -> Iterator[Section]:
    """The tables, with at most so many clips in a list of clips."""
    about = f"{analysis.task}, {analysis.model}, {analysis.split}"
    over = "" if len(analysis.runs) == 1 else f", sum over {len(analysis.runs)} runs"
    confusion = analysis.confusion
    yield _section(
        f"{about}: gold labels (rows) and answers{over}; in brackets the share of the row",
        style,
        word={"gold": confusion.rows},
        count={
            name: [
                f"{row[place]:,}" + (f" ({rate[place]:.0%})" if rate[place] is not None else "")
                for row, rate in zip(confusion.counts, confusion.rates, strict=True)
            ]
            for place, name in enumerate(_answered(confusion))
        },
    )
    if analysis.slices:
        yield _slices(f"{about}: slices by {analysis.metric}", analysis.slices, analysis.metric, style)
    if analysis.worst:
        title = f"{about}: slices that are worse than the rest beyond chance"
        yield _slices(title, analysis.worst, analysis.metric, style)
    if analysis.hardest[:most]:
        yield _clips(f"{about}: hardest clips, wrong in {_all(analysis)}", analysis.hardest[:most], style)
    if analysis.confident[:most]:
        yield _clips(f"{about}: most confidently wrong", analysis.confident[:most], style)
    if analysis.unreadable:
        causes = analysis.unreadable
        yield _section(
            f"{about}: unreadable answers",
            style,
            word={
                "cause": [_cut(cause.reason) for cause in causes],
                "example": [_cut(cause.example) or NOT_APPLICABLE for cause in causes],
            },
            count={
                "answers": [f"{cause.answers:,}" for cause in causes],
                "clips": [f"{cause.clips:,}" for cause in causes],
            },
        )
    if analysis.calibration is not None:
        curve = analysis.calibration.curve
        yield _section(
            f"{about}: calibration",
            style,
            count={
                "answers": [f"{each.rows:,}" for each in curve],
                "confidence": [four(each.confidence) for each in curve],
                "accuracy": [four(each.accuracy) for each in curve],
                "accuracy - confidence": [f"{each.accuracy - each.confidence:+.4f}" for each in curve],
            },
        )
    if analysis.changes is not None:
        yield from _changes(about, analysis.changes, style, most)


def sentences(analysis: ErrorAnalysis, most: int) -> Iterator[str]:
    """What has to be known beside the tables."""
    number = f"{analysis.metric} {four(analysis.value)}"
    share = f"{analysis.right:.1%} of answers are right"
    within = f" (within {CLOSE:.0%} of the range)" if "zero" in analysis.confusion.rows else ""
    yield f"{analysis.task}: {analysis.clips:,} clips in {analysis.groups:,} groups; {number}; {share}{within}"
    tests = [each for each in analysis.slices if each.p is not None]
    if tests:
        yield (
            f"slices: {analysis.metric} of a slice minus that of all other clips, mean over runs, with a {LEVEL:.0%}"
            " interval over groups of clips (jackknife, Student's t) for these models; p-values adjusted for all"
            f" {len(tests)} slices with one, Holm and Benjamini-Hochberg (BH)"
        )
    if tests and not analysis.worst:
        yield "no slice is worse than the rest beyond chance (Holm, 5 %)"
    yield from _without_interval(analysis.slices)
    yield from (f"no slices by {by}: {reason}" for by, reason in analysis.unavailable.items())
    for name, listed in (("hardest", analysis.hardest), ("confidently wrong", analysis.confident)):
        if len(listed) > most:
            yield f"{name}: {most} of {len(listed):,} clips are shown; --clips N shows more, --format json all"
    if not analysis.unreadable:
        yield "all answers could be read"
    if analysis.calibration is None:
        yield f"no calibration: {analysis.no_calibration}"
    else:
        it = analysis.calibration
        yield (
            f"calibration of {it.answers:,} answers: mean confidence {it.confidence:.4f}, accuracy {it.accuracy:.4f};"
            f" ECE {it.ece:.4f} (bins of equal mass; {it.ece_width:.4f} with bins of equal width), Brier score"
            f" {it.brier:.4f} of 2"
        )
    if analysis.changes is not None:
        yield from _about_changes(analysis.changes, most)
    yield from analysis.notes


def _without_interval(slices: Sequence[Slice]) -> Iterator[str]:
    """A sentence for each reason, with the slices that it is about."""
    by_reason: dict[str, list[Slice]] = {}
    for each in slices:
        if each.reason:
            by_reason.setdefault(each.reason, []).append(each)
    for reason, some in by_reason.items():
        named = ", ".join(f"{each.by} {each.value}" for each in some[:3])
        more = f" and {len(some) - 3} more" if len(some) > 3 else ""
        yield f"no interval of {named}{more}: {reason}"


def _about_changes(changes: Changes, most: int) -> Iterator[str]:
    interval = f"no interval, since {changes.reason}"
    if changes.low is not None and changes.high is not None:
        interval = f"{LEVEL:.0%} interval {changes.low:+.4f} to {changes.high:+.4f}, p {p_value(changes.p)}"
    pairs = "one pair" if len(changes.pairs) == 1 else f"{len(changes.pairs)} pairs"
    yield (
        f"against runs {numbered(changes.against)}, on {changes.clips:,} clips in {pairs} of runs: {changes.right:.1%}"
        f" right here and {changes.right_there:.1%} there; {interval}; {changes.num_fixed:,.1f} clips fixed and"
        f" {changes.num_broken:,.1f} broken, mean over pairs"
    )
    tests = ", ".join(
        f"{one} and {other} p {p_value(p)}" for (one, other), p in zip(changes.pairs, changes.mcnemar, strict=True)
    )
    yield f"McNemar, which takes clips for independent: {tests}"
    for name, listed in (("fixed", changes.fixed), ("broken", changes.broken)):
        if len(listed) > most:
            yield f"{name}: {most} of {len(listed):,} clips are shown; --clips N shows more, --format json all"


def _changes(about: str, changes: Changes, style: Style, most: int) -> Iterator[Section]:
    against = f"against runs {numbered(changes.against)}"
    rows = changes.by_class
    yield _section(
        f"{about}: fixed and broken, {against}",
        style,
        word={"class": [row.label for row in rows]},
        count={
            "clips": [f"{row.clips:,}" for row in rows],
            "fixed": [f"{row.fixed:,.1f}" for row in rows],
            "broken": [f"{row.broken:,.1f}" for row in rows],
            "net": [f"{row.fixed - row.broken:+,.1f}" for row in rows],
        },
    )
    if changes.fixed[:most]:
        yield _clips(f"{about}: fixed in every pair, with the answers of the others", changes.fixed[:most], style)
    if changes.broken[:most]:
        yield _clips(f"{about}: broken in every pair, {against}", changes.broken[:most], style)


def _all(analysis: ErrorAnalysis) -> str:
    return "the run" if len(analysis.runs) == 1 else f"all {len(analysis.runs)} runs"


def _slices(title: str, shown: Sequence[Slice], metric: str, style: Style) -> Section:
    def signed(value: float | None) -> str:
        return "undefined" if value is None else style.signed(value)

    return _section(
        title,
        style,
        word={"by": [each.by for each in shown], "slice": [each.value for each in shown]},
        count={"clips": [f"{each.clips:,}" for each in shown], "groups": [f"{each.groups:,}" for each in shown]},
        number={
            metric: [four(each.metric) for each in shown],
            "others": [four(each.rest) for each in shown],
            "difference": [signed(each.difference) for each in shown],
            f"{LEVEL:.0%} interval": [ends(each, style) for each in shown],
            "p (Holm)": [style.escape(p_value(each.holm)) for each in shown],
            "p (BH)": [style.escape(p_value(each.bh)) for each in shown],
        },
        last={"verdict": [each.verdict or NOT_APPLICABLE for each in shown]},
    )


def _clips(title: str, shown: Sequence[Clip], style: Style) -> Section:
    words = {
        "clip": [each.id for each in shown],
        "gold": [each.gold for each in shown],
        "answers": [" / ".join(dict.fromkeys(map(_cut, each.answers))) for each in shown],
    }
    numbers: dict[str, list[str]] = {}
    for name, values in (
        ("confidence", [each.confidence for each in shown]),
        ("p of gold", [each.gold_probability for each in shown]),
        ("error", [each.error for each in shown]),
    ):
        if any(value is not None for value in values):
            numbers[name] = [NOT_APPLICABLE if value is None else f"{value:.3f}" for value in values]
    texts = [_cut(each.text) or NOT_APPLICABLE for each in shown]
    return _section(title, style, word=words, number=numbers, last={"transcript": texts})


def _answered(confusion: Confusion) -> Sequence[str]:
    """The columns of a confusion matrix: without the last, of answers that cannot be read, where all could be."""
    extra = len(confusion.columns) > len(confusion.rows) and not any(row[-1] for row in confusion.counts)
    return confusion.columns[:-1] if extra else confusion.columns


def _section(
    title: str,
    style: Style,
    *,
    word: dict[str, list[str]] | None = None,
    count: dict[str, list[str]] | None = None,
    number: dict[str, list[str]] | None = None,
    last: dict[str, list[str]] | None = None,
) -> Section:
    """Words are escaped here; numbers come as they stand in the table."""
    columns = []
    for kind, group in (("word", word), ("count", count), ("number", number), ("word", last)):
        for heading, cells in (group or {}).items():
            shown = [style.escape(cell) for cell in cells] if kind == "word" else cells
            columns.append(Column(heading=style.escape(heading), cells=shown, kind=kind))
    return Section(title=title, columns=columns)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
