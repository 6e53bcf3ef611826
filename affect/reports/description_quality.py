"""The tables of the quality of descriptions (affect.knowledge.quality)."""

from collections.abc import Iterator, Sequence

from affect.data.escaping import one_line
from affect.evaluation.significance import LEVEL
from affect.knowledge.quality.claims import VERDICTS
from affect.knowledge.quality.judge import CONTRADICTS, CRITERIA
from affect.knowledge.quality.ratings import DECIDED, Ratings
from affect.knowledge.quality.results import MEASURES, Difference, Judged, Quality
from affect.reports.sections import NOT_APPLICABLE, Column, Section

LONGEST = 70
"""Characters of a description in a table."""

AS_SHARE = ("contradicted", "not there", "repetition", "empty", "shared")


def sections(quality: Quality, most: int = 10) -> Iterator[Section]:
    """What generators say, how it goes with right answers, how generators differ, and examples of contradictions."""
    shown = quality.generators
    yield _section(
        "descriptions, means of each generator",
        {
            "generator": [each.generator for each in shown],
            "of": [each.modality for each in shown],
            "descriptions": [f"{each.descriptions:,} of {each.clips:,}" for each in shown],
            **{name: [_value(name, each.means[name]) for each in shown] for name in MEASURES},
        },
    )
    lines = [(each, cue, counts) for each in shown for cue, counts in each.claims.items()]
    if lines:
        yield _section(
            "claims against measured cues",
            {
                "generator": [each.generator for each, _, _ in lines],
                "of": [each.modality for each, _, _ in lines],
                "cue": [cue for _, cue, _ in lines],
                "claims": [f"{sum(counts.values()):,}" for _, _, counts in lines],
                **{
                    verdict: [
                        f"{counts[verdict]:,} ({counts[verdict] / sum(counts.values()):.0%})" for _, _, counts in lines
                    ]
                    for verdict in VERDICTS
                },
            },
        )
    yield from _compared(quality)
    wrong = [
        (each, cue)
        for each in quality.descriptions
        for cue, (_, verdict) in each.verdicts.items()
        if verdict in ("contradicted", "not there")
    ]
    if wrong:
        yield _examples(wrong, most)


def sentences(quality: Quality) -> Iterator[str]:
    """What has to be known beside the tables."""
    yield (
        "claims are words of affect/knowledge/quality/claims.yaml; low and high are the lowest and the highest third of"
        " the clips looked at of each dataset; measurements err too, so that a contradiction says that text and"
        " measurement differ"
    )
    if quality.associations or quality.comparisons:
        yield (
            f"differences with a {LEVEL:.0%} interval over groups of clips (jackknife, Student's t); p-values adjusted"
            " for all measures of the tables about right answers, and of those about two generators (Holm); that"
            " descriptions of right and wrong answers differ does not say why"
        )
    yield from _reasons(quality)
    yield from quality.notes


def sections_of_judge(ratings: Ratings, quality: Quality, most: int = 10) -> Iterator[Section]:
    """The judge's ratings of `quality`'s descriptions, beside the checks, and what could not be read."""
    shown = ratings.generators
    checks = {(each.generator, each.modality): each.means for each in quality.generators}
    yield _section(
        f"ratings by {ratings.judge}, from 1 to 5, means of each generator",
        {
            "generator": [each.generator for each in shown],
            "of": [each.modality for each in shown],
            "rated": [f"{each.rated:,} of {each.descriptions:,}" for each in shown],
            **{
                name: [_value(name, each.means[name]) if each.means else NOT_APPLICABLE for each in shown]
                for name in CRITERIA
            },
            **{
                f"checks: {name}": [_value(name, checks[each.generator, each.modality][name]) for each in shown]
                for name in ("contradicted", "not there")
            },
        },
    )
    yield _section(
        "contradictions of the measurements, by the judge and by the checks",
        {
            "generator": [each.generator for each in shown],
            "of": [each.modality for each in shown],
            "both": [f"{each.both:,}" for each in shown],
            "judge alone": [f"{each.judge_alone:,}" for each in shown],
            "checks alone": [f"{each.checks_alone:,}" for each in shown],
            "neither": [f"{each.neither:,}" for each in shown],
            "kappa": [NOT_APPLICABLE if each.kappa is None else f"{each.kappa:.4f}" for each in shown],
            f"{LEVEL:.0%} interval": [_interval(each.low, each.high) for each in shown],
        },
    )
    yield from _compared(ratings, "ratings, ")
    without = [each for each in ratings.ratings if each.reason]
    if without:
        yield _section(
            f"descriptions without ratings, {min(most, len(without))} of {len(without):,}",
            {
                "clip": [each.id for each in without[:most]],
                "generator": [each.generator for each in without[:most]],
                "description": [each.modality for each in without[:most]],
                "reason": [_cut(each.reason) for each in without[:most]],
            },
        )


def sentences_of_judge(ratings: Ratings) -> Iterator[str]:
    """What was asked, how often, and what has to be known beside the ratings."""
    named = f", which the server calls {' and '.join(ratings.served_as)}" if ratings.served_as else ""
    hashes = " and ".join(f"{value} ({language})" for language, value in ratings.instructions.items())
    yield f"judge: {ratings.judge}{named}, at temperature 0; instructions {hashes}"
    counted = f"{ratings.prompt_tokens:,} tokens read and {ratings.tokens:,} written"
    tokens = counted if ratings.tokens else "the server counts no tokens"
    yield (
        f"{len(ratings.ratings):,} descriptions in {ratings.questions:,} questions: {ratings.kept:,} answers were kept"
        f" from before, {ratings.questions - ratings.kept:,} requests sent, {ratings.unanswered:,} of them without an"
        f" answer, {ratings.unreadable:,} answers unreadable; {tokens}"
    )
    yield (
        f"the judge is told the description, the transcript and the measurements in words, not the clip; it says"
        f" contradicted where faithful is at most {CONTRADICTS}, the checks where a claim is contradicted or not there;"
        f" kappa is over rated descriptions with a claim that is one of {', '.join(DECIDED)}"
    )
    for each in ratings.generators:
        if each.reason:
            yield f"kappa, {each.generator} ({each.modality}): {each.reason}"
    yield from _reasons(ratings)
    yield from ratings.notes


def _compared(tables: Quality | Ratings, of: str = "") -> Iterator[Section]:
    for association in tables.associations:
        yield _differences(
            f"{of}{association.task}: descriptions of {association.modality} by {association.generator}, of"
            f" {association.right:,} clips that are right and {association.wrong:,} that are wrong",
            ("right", "wrong"),
            association.differences,
        )
    for comparison in tables.comparisons:
        yield _differences(
            f"{of}{comparison.modality}: {comparison.generators[0]} (1) and {comparison.generators[1]} (2), on"
            f" {comparison.clips:,} clips",
            ("1", "2"),
            comparison.differences,
        )


def _reasons(tables: Quality | Ratings) -> Iterator[str]:
    """Why differences have no interval."""
    reasons: dict[str, list[str]] = {}
    for table in (*tables.associations, *tables.comparisons):
        for each in table.differences:
            if each.reason:
                reasons.setdefault(each.reason, []).append(f"{each.measure} ({table.modality})")
    yield from (f"no interval of {', '.join(dict.fromkeys(some))}: {reason}" for reason, some in reasons.items())


def _examples(wrong: Sequence[tuple[Judged, str]], most: int) -> Section:
    some = wrong[:most]
    return _section(
        f"claims that measurements do not bear out, {len(some)} of {len(wrong):,}",
        {
            "clip": [each.id for each, _ in some],
            "generator": [each.generator for each, _ in some],
            "claim": [f"{cue} {each.verdicts[cue][0]}" for each, cue in some],
            "verdict": [each.verdicts[cue][1] for each, cue in some],
            "measured": [_measured(each.cues[cue]) for each, cue in some],
            "description": [_cut(each.text) for each, _ in some],
        },
    )


def _differences(title: str, sides: tuple[str, str], shown: Sequence[Difference]) -> Section:
    return _section(
        title,
        {
            "measure": [each.measure for each in shown],
            sides[0]: [_value(each.measure, each.one) for each in shown],
            sides[1]: [_value(each.measure, each.other) for each in shown],
            "difference": [f"{each.one - each.other:+.4f}" for each in shown],
            f"{LEVEL:.0%} interval": [_interval(each.low, each.high) for each in shown],
            "p (Holm)": [NOT_APPLICABLE if each.holm is None else f"{each.holm:.4f}" for each in shown],
        },
    )


def _interval(low: float | None, high: float | None) -> str:
    return NOT_APPLICABLE if low is None or high is None else f"[{low:+.4f}, {high:+.4f}]"


def _section(title: str, columns: dict[str, list[str]]) -> Section:
    words = ("generator", "of", "cue", "measure", "clip", "claim", "verdict", "description", "reason")
    return Section(
        title=one_line(title),
        columns=[
            Column(heading=name, cells=[one_line(cell) for cell in cells], kind="word" if name in words else "count")
            for name, cells in columns.items()
        ],
    )


def _value(measure: str, value: float) -> str:
    return f"{value:.1%}" if measure in AS_SHARE else f"{value:.{2 if measure in CRITERIA else 1}f}"


def _measured(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.3g}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
