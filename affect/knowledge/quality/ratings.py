"""Ratings of descriptions by a judge, beside the checks that need none: counts, means, agreement, right answers."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from affect.config import Config, ServerConfig
from affect.config.logs import LOG
from affect.data import Record
from affect.data.escaping import one_line
from affect.evaluation.significance import jackknifed
from affect.knowledge.quality import judge
from affect.knowledge.quality.analysis import (
    Association,
    Comparison,
    Judged,
    Quality,
    adjusted,
    associations,
    comparisons,
    grouped,
)
from affect.knowledge.sources import cue_words, cues

DECIDED = ("agrees", "contradicted", "not there")
"""Verdicts of the checks that the judge can agree with; the last two say that text and measurement differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What the judge says of one description."""

    id: str
    modality: str
    generator: str
    ratings: dict[str, int]
    """By name, of judge.CRITERIA; empty where there are none."""
    reason: str
    """Why there are none: the answer cannot be read, or did not come."""
    answer: dict[str, Any]
    """judge_answers.Answer; empty where none came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedGenerator:
    """The ratings of the descriptions of one modality by one generator."""

    generator: str
    modality: str
    descriptions: int
    rated: int
    means: dict[str, float]
    """By name, of judge.CRITERIA; empty where nothing is rated."""
    both: int
    """Descriptions that both the judge and the checks say to contradict the measurements, of those that are rated and
    have a claim that the checks decide."""
    judge_alone: int
    checks_alone: int
    neither: int
    kappa: float | None
    """Cohen's kappa of judge and checks (Educational and Psychological Measurement 20, 1960): 1 is full agreement, 0
    that of chance."""
    low: float | None
    """Ends of its interval over groups of clips."""
    high: float | None
    reason: str
    """Why kappa or its interval is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    judge: str
    """model.served."""
    served_as: list[str]
    """What the server calls the model in its answers, where it says."""
    instructions: dict[str, str]
    """Hash of the instructions by language."""
    questions: int
    """Descriptions that are alike in all that the judge is told are one question."""
    kept: int
    """Of these, those that were answered before."""
    unanswered: int
    """Those that the server did not answer; they are asked again the next time."""
    unreadable: int
    """Those whose answer is no ratings."""
    prompt_tokens: int
    tokens: int
    """Those of all answers, as far as the server counts."""
    generators: list[RatedGenerator]
    associations: list[Association]
    comparisons: list[Comparison]
    ratings: list[Rating]
    notes: list[str]


def rate(
    quality: Quality,
    records: Sequence[Record],
    cfg: Config,
    begin: Callable[[int, int], None],
    progress: Callable[[int, int], None],
) -> Ratings:
    """Has the judge, cfg.model, rate the descriptions of `quality`, which are of `records`. Answers are kept, and none
    is asked for twice; begin, progress and what is raised are as of judge_answers.ask."""
    from affect.knowledge.quality.judge_answers import Answer, ask  # which import torch

    assert isinstance(cfg.model, ServerConfig), "a rule refuses it"
    served, by_id = str(cfg.model.served), {record.id: record for record in records}
    languages = {each.id: judge.language_of(by_id[each.id].language) for each in quality.descriptions}
    notes = list(_cautions(served, quality.descriptions, by_id))
    for note in notes:
        LOG.warning(one_line(note))  # a store from elsewhere may name its generators as it likes
    words = _in_words(records, {each.modality for each in quality.descriptions}, cfg)
    questions = [
        judge.question(each.text, each.modality, by_id[each.id].text, words[each.id, each.modality], languages[each.id])
        for each in quality.descriptions
    ]
    instructions = [judge.instructions_hash(languages[each.id]) for each in quality.descriptions]
    file = Path(cfg.cache_root).expanduser() / "quality" / "judge.sqlite"
    answers, kept = ask(dict(zip(questions, instructions, strict=True)), cfg.model, file, begin, progress)
    given = [answer for answer in answers.values() if isinstance(answer, Answer)]
    served_as = sorted({answer.served_as for answer in given} - {""})
    if len(served_as) > 1:
        notes.append(f"the ratings are by {len(served_as)} models, as the server calls them: {', '.join(served_as)}")
    ratings = []
    for each, asked in zip(quality.descriptions, questions, strict=True):
        answer = answers[asked]
        found = judge.read(answer.text) if isinstance(answer, Answer) else f"no answer came: {answer}"
        ratings.append(
            Rating(
                id=each.id,
                modality=each.modality,
                generator=each.generator,
                ratings=found if isinstance(found, dict) else {},
                reason=found if isinstance(found, str) else "",
                answer=asdict(answer) if isinstance(answer, Answer) else {},
            )
        )
    rated = grouped(
        [
            replace(each, measures={**each.measures, **rating.ratings})
            for each, rating in zip(quality.descriptions, ratings, strict=True)
            if rating.ratings
        ]
    )
    left_out: list[str] = []
    of_answers = associations(rated, judge.CRITERIA, cfg, left_out) if cfg.run is not None else ()
    return Ratings(
        judge=served,
        served_as=served_as,
        instructions={name: judge.instructions_hash(name) for name in sorted(set(languages.values()))},
        questions=len(answers),
        kept=kept,
        unanswered=len(answers) - len(given),
        unreadable=sum(isinstance(judge.read(answer.text), str) for answer in given),
        prompt_tokens=sum(answer.prompt_tokens or 0 for answer in given),
        tokens=sum(answer.tokens or 0 for answer in given),
        generators=[
            _of_generator(modality, generator, len(some), rated.get((modality, generator), []))
            for (modality, generator), some in grouped(quality.descriptions).items()
        ],
        associations=adjusted(of_answers),
        comparisons=adjusted(comparisons(rated, judge.CRITERIA, left_out)),
        ratings=ratings,
        notes=[*notes, *(note for note in left_out if note not in quality.notes)],
    )


def same_model(served: str, generator: str) -> bool:
    """Whether a judge and the generator with this fingerprint have models of one name.

    >>> same_model("Qwen/Qwen2.5-Omni-7B", "mllm-qwen2_5_omni_7b+qwen2_audio_7b-0123456789abcdef")
    True
    >>> same_model("Qwen/Qwen3-8B", "server-Qwen3-8B-FP8-0123456789abcdef")
    False
    """

    def plain(name: str) -> str:
        return re.sub(r"[\W_]", "", name).casefold()

    match = re.fullmatch(r"(?:server|mllm)-(.+)-[0-9a-f]{16}", generator)
    return match is not None and plain(served.rstrip("/").rsplit("/", 1)[-1]) in map(plain, match[1].split("+"))


def _cautions(served: str, descriptions: Sequence[Judged], records: Mapping[str, Record]) -> Iterator[str]:
    if own := sorted({each.generator for each in descriptions if same_model(served, each.generator)}):
        yield (
            f"the judge {served} has the name of the model that wrote the descriptions of {' and '.join(own)}: a model"
            " rates its own texts too well, so choose another judge"
        )
    languages = {records[each.id].language for each in descriptions}
    if others := sorted(name for name in languages if judge.language_of(name) != name):
        yield f"descriptions of clips in {' and '.join(others)} are rated with English instructions"


def _in_words(records: Sequence[Record], modalities: set[str], cfg: Config) -> dict[tuple[str, str], str]:
    """By record id and modality, the measurements in words, relative to the clips of the same dataset among `records`,
    as the checks are."""
    told: dict[tuple[str, str], str] = {}
    cache_root, workers = Path(cfg.cache_root).expanduser(), cfg.trainer.check_workers
    for modality in {part for each in modalities for part in each.split("_")}:
        there = [r for r in records if cues.LETTERS[modality] in cfg.datasets[r.dataset].modalities]
        # The checks have told already which clips cannot be measured.
        measured, _ = cues.by_clip(there, modality, cache_root, num_workers=workers, show=False)
        usable = [r for r in there if measured[r.id] is not None]
        bounds = {
            name: cues.quantiles_of([measured[r.id] for r in usable if r.dataset == name])
            for name in {r.dataset for r in usable}
        }
        for record in records:
            language, values = judge.language_of(record.language), measured.get(record.id)
            told[record.id, modality] = cue_words.UNSAID[language] + cue_words.STOP[language]
            if values is not None:
                levels = cues.levels_of(values, bounds[record.dataset])
                told[record.id, modality] = cue_words.tell(modality, language, levels, list(levels))
    return {
        (r.id, each): " ".join(told[r.id, part] for part in each.split("_")) for each in modalities for r in records
    }


def _of_generator(modality: str, generator: str, descriptions: int, rated: Sequence[Judged]) -> RatedGenerator:
    decided = [each for each in rated if any(verdict in DECIDED for _, verdict in each.verdicts.values())]
    checks = np.array([bool(each.measures["contradicted"] or each.measures["not there"]) for each in decided], bool)
    says = np.array([each.measures["faithful"] <= judge.CONTRADICTS for each in decided], bool)

    def kappa(rows: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one that is undefined without some groups
            return np.array([[cohen_kappa_score(says[rows], checks[rows])]])

    value = low = high = None
    if not decided:
        reason = "no rated description has a claim that the checks decide"
    elif says.all() or checks.all() or not (says.any() and checks.any()):
        reason = "the judge or the checks say the same of all descriptions, which leaves no agreement to measure"
    else:
        groups = np.array([each.group for each in decided])
        found = jackknifed(kappa, groups, np.ones((1, len(decided)), bool))[0]
        value, low, high, reason = found.mean, found.low, found.high, found.reason
    return RatedGenerator(
        generator=generator,
        modality=modality,
        descriptions=descriptions,
        rated=len(rated),
        means={name: float(np.mean([each.measures[name] for each in rated])) for name in judge.CRITERIA if rated},
        both=int((says & checks).sum()),
        judge_alone=int((says & ~checks).sum()),
        checks_alone=int((~says & checks).sum()),
        neither=int((~says & ~checks).sum()),
        kappa=value,
        low=low,
        high=high,
        reason=reason,
    )
