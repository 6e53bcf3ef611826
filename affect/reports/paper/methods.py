"""The paragraph on methods, from run folders: models, prompts, training, evaluation, software and hardware."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from affect.config import MODALITIES
from affect.config.roles import NEUTRAL, is_one_of, leaves, unused
from affect.reports.paper.sources import licences, software
from affect.reports.rows import Table
from affect.reports.settings import Run, describes, learns, text

LONGEST = 60
"""Letters of a value that is written out; longer ones, such as the texts of prompts, are in settings.csv alone."""

Paragraph = tuple[str, list[str]]
"""Heading and sentences."""


def paragraphs(
    runs: Mapping[int, Run], tables: Sequence[Table], environments: Mapping[int, Mapping[str, Any]]
) -> list[Paragraph]:
    """`runs` are those in the tables by number, `environments` their environment.json."""
    data = [f"{name}: {licence}" for name, licence in licences(runs).items()]
    return [
        *([("Data", data)] if data else []),
        ("Models", list(_models(runs))),
        ("Inputs and prompts", list(_prompts(runs))),
        ("Training", list(_training(runs))),
        ("Evaluation", list(_evaluation(runs, tables))),
        ("Software and hardware", list(_machines(environments))),
    ]


def _models(runs: Mapping[int, Run]) -> Iterable[str]:
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs.values():
        by_model.setdefault(run.summary.model, []).append(run.summary.config)
    for model, configs in by_model.items():
        licences = dict.fromkeys(str(config["model"].get("licence") or "") for config in configs)
        licence = " / ".join(each for each in licences if each)
        facts = _facts(configs, lambda key: key.startswith("model."))
        if any(config["model"].get("checkpoint") and not config["model"].get("revision") for config in configs):
            facts += "; revision not pinned"
        yield f"{model}: {facts}{f'; licence {licence}' if licence else ''}."


def _prompts(runs: Mapping[int, Run]) -> Iterable[str]:
    letters = dict.fromkeys(run.summary.config["modalities"] for run in runs.values())
    words = ["+".join(word for letter, word in MODALITIES.items() if letter in each) for each in letters]
    yield f"Modalities: {' / '.join(words)}."
    configs = [run.summary.config for run in runs.values()]
    names = dict.fromkeys(config["prompting"]["name"] for config in configs if not unused(config)("prompting.name"))
    if names:
        yield f"Prompts {' / '.join(names)}: {_facts(configs, lambda key: key.startswith('prompting.'))}."
    if described := [config for config in configs if describes(config)]:
        yield f"Descriptions in prompts: {_facts(described, lambda key: key.startswith('knowledge.'))}."


def _training(runs: Mapping[int, Run]) -> Iterable[str]:
    by_tuning: dict[str, list[Run]] = {}
    for run in runs.values():
        by_tuning.setdefault(run.tuning, []).append(run)
    for tuning, own in by_tuning.items():
        count = f"{len(own)} run{'' if len(own) == 1 else 's'}"
        trainings = [run.training for run in own if run.training is not None]
        if not trainings:
            yield f"Zero-shot, without any training: {count}."
            continue
        seeds = sorted({run.seed for run in own})
        seeded = f"seed{'' if len(seeds) == 1 else 's'} {' / '.join(map(str, seeds))}"
        on = " / ".join(dict.fromkeys("+".join(training["datasets"]) for training in trainings))
        facts = _facts(trainings, lambda key: learns(key) and not key.startswith("training."))
        yield f"{tuning.capitalize()} ({count}, {seeded}, on {on}){': ' if facts else ''}{facts}."


def _evaluation(runs: Mapping[int, Run], tables: Sequence[Table]) -> Iterable[str]:
    configs = [run.summary.config for run in runs.values()]
    if facts := _facts(configs, lambda key: key.startswith("evaluation.") and not learns(key)):
        yield f"Settings: {facts}."
    for table in tables:
        for metric in table.metrics:
            signatures: dict[str, None] = {}
            for run in (runs[n] for row in table.rows for n in row.runs):
                assert run.summary.metrics is not None
                reader = run.summary.metrics["reader"]
                signed = run.summary.metrics["tasks"][table.task].get("signatures", {}).get(reader, {})
                if metric in signed:
                    signatures[signed[metric]] = None
            if signatures:
                first = next(iter(signatures))
                more = f", and {len(signatures) - 1} more in numbers.csv" if len(signatures) > 1 else ""
                yield f"{table.task}, {metric}: signature {first}{more}."
    yield from dict.fromkeys(f"{table.bold}." for table in tables if table.bold)


def _machines(environments: Mapping[int, Mapping[str, Any]]) -> Iterable[str]:
    def distinct(value: Callable[[Mapping[str, Any]], str]) -> str:
        return " / ".join(dict.fromkeys(value(each) for each in environments.values()))

    versions = software(list(environments.values()))
    yield ", ".join(f"{name} {' / '.join(found)}" for name, found in versions.items()) + "."
    yield f"affect {distinct(code)}."
    yield f"Machines: {distinct(_machine)}."


def _machine(environment: Mapping[str, Any]) -> str:
    gpus = Counter(environment.get("gpus") or [])
    named = "".join(f", {count} {name}" for name, count in gpus.items())
    return f"{environment.get('platform')}, {environment.get('processors')} processors{named}"


def code(environment: Mapping[str, Any]) -> str:
    """Version, commit and hash of the code of a run."""
    commit = f", commit {environment['commit'][:12]}" if environment.get("commit") else ""
    changed = ", with changes that are in no commit" if environment.get("dirty") else ""
    return (
        f"{environment.get('affect')}{commit}{changed} (sha256 of the code {str(environment.get('code_sha256'))[:8]})"
    )


def _facts(configs: Sequence[Mapping[str, Any]], belongs: Callable[[str], bool]) -> str:
    """`key value; …` for the keys that may change a number and have an effect; several values of a key stand beside
    each other with a slash."""
    values: dict[str, dict[str, None]] = {}
    for config in configs:
        idle = unused(config)
        for key, value in leaves(config):
            without_effect = is_one_of(key, NEUTRAL) or idle(key) or _of_another_language(key, config)
            if belongs(key) and value not in (None, "", []) and not without_effect:
                values.setdefault(key, {})[text(value)] = None
    facts = [
        f"{key.split('.', 1)[1].replace('_', ' ').replace('.', ' ')} {' / '.join(found)}"
        for key, found in values.items()
        if all(len(each) <= LONGEST for each in found)
    ]
    if len(facts) < len(values):
        facts.append("texts as in settings.csv")
    return "; ".join(facts)


def _of_another_language(key: str, config: Mapping[str, Any]) -> bool:
    """Whether a key is the text of a prompt in a language that no dataset of the run is in."""
    group, name, language = (*key.split("."), "", "")[:3]
    texts = config["prompting"].get(name) if group == "prompting" else None
    spoken = {dataset.get("language", "en") for dataset in config["datasets"].values()}
    return isinstance(texts, Mapping) and bool(spoken & texts.keys()) and language not in spoken
