"""The prompts of runs: messages as the model's chat template gets them, by slot, and the descriptions in them.

They are built as the runs built them (affect.prompting), from annotations, the store of descriptions and the
configuration. Runs whose prompts cannot differ share them. Nothing is generated, and no model is loaded: where the
token budget shortened a prompt is not known here, so that the whole one is given.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from affect.config import (
    FAMILIES,
    BaselineConfig,
    Config,
    ConfigError,
    Control,
    ControlSplit,
    DataError,
    InterventionConfig,
    PromptingConfig,
    Task,
)
from affect.data import Record, loading
from affect.knowledge import controls, leak_audit
from affect.knowledge.naming import namings
from affect.prompting import fewshot, messages
from affect.reports.page.clips.records import Datasets, located, typed
from affect.reports.page.clips.stored import read_json, stored, with_transcripts
from affect.reports.page.clips.texts import NONE, Texts
from affect.reports.settings import Run
from affect.runs.inherit import run_config

MAX_PROMPTS = 100_000
"""Prompts that a page holds. Later runs are shown without."""

NO_PROMPT = -2
"""Stands for the prompts of a run whose method reads none; data.js has the same number."""


@dataclass(slots=True, kw_only=True)
class Prompts:
    """The prompts of all runs of a page."""

    texts: Texts
    datasets: Datasets
    listed: list[dict[str, Any]] = field(default_factory=list)
    """What the page's JSON has of them."""
    namings: dict[str, dict[int, list[list[Any]]]] = field(default_factory=dict)
    """By task and number of a text, the places that name labels: start and end, in the units of JavaScript's strings,
    and the labels."""
    left_out: list[int] = field(default_factory=list)
    """Numbers of the runs whose prompts are left out (MAX_PROMPTS)."""
    _count: int = 0
    _by_key: dict[str, int] = field(default_factory=dict)

    def of(self, number: int, run: Run, dataset: str, task: str, ids: Sequence[str]) -> int:
        """The place in `listed` of the prompts of run `number` for a task of a dataset, in the order of `ids`;
        NO_PROMPT for a method that reads none, and NONE where they are left out (MAX_PROMPTS)."""
        config = run.summary.config
        schema = FAMILIES.get(config["model"]["family"])
        if schema is None or issubclass(schema, BaselineConfig):
            return NO_PROMPT
        try:
            key = _key(run, dataset, task, ids)
        except DataError as error:  # which `_built` meets again, and tells
            key = f"{run.folder}: {error}"
        if key not in self._by_key:
            self._count += len(ids)
            if self._count > MAX_PROMPTS:
                self.left_out.append(number)
                return NONE
            self._by_key[key] = len(self.listed)
            self.listed.append(self._built(run, dataset, task, ids))
        return self._by_key[key]

    def _built(self, run: Run, dataset: str, task_name: str, ids: Sequence[str]) -> dict[str, Any]:
        """`slots` by name, a text a clip; `descriptions` likewise, with what of NAMED each is; `heard`, transcripts
        of a speech recogniser; and `why`, where these are not, or not surely, those that the run has shown."""
        config = run.summary.config
        built: dict[str, Any] = {"slots": {}, "descriptions": {}, "named": {}, "audit": [], "why": []}
        try:
            prompting = typed(PromptingConfig, config["prompting"])
            of_dataset = self.datasets.of(dataset, config)
            known = of_dataset.split(config["evaluation"]["split"])
            if of_dataset.config is None or not known:
                return built | {"why": [of_dataset.why]}
            task = of_dataset.config.task_definitions[task_name]
            records = [known[key] for key in ids if key in known]
            records = self._as_read(records, run, prompting, len(records) == len(ids), built["why"])
            examples = self._examples(records, run, dataset, task, prompting, built["why"])
        except (ConfigError, DataError) as error:
            return built | {"why": [str(error)]}
        except (KeyError, ValueError, TypeError) as error:
            why = f"{run.folder / 'config.yaml'} has something that this version of affect does not know ({error!r})"
            return built | {"why": [why]}
        by_id = {record.id: record for record in records}
        modalities = config["modalities"]
        built |= {
            "system": self.texts.number(prompting.system.get(of_dataset.config.language)),
            "media": [name for letter, name in (("v", "video"), ("a", "audio")) if letter in modalities],
            "budget": prompting.max_text_tokens,
            "intervention": str(typed(InterventionConfig, config["intervention"])),
            "control": config["knowledge"].get("control", Control.none.value),
        }
        for place, key in enumerate(ids):
            if key in by_id:
                self._add(built, place, len(ids), by_id[key], task, prompting, modalities, examples.get(key, ()))
        heard = [key in by_id and by_id[key].text != known[key].text for key in ids]
        if any(heard):
            texts = [by_id[key].text if other else None for key, other in zip(ids, heard, strict=True)]
            built["heard"] = [self.texts.number(text) for text in texts]
        if built["descriptions"]:
            built["audit"] = _audit(run, f"{dataset}.{task_name}")
        self._name(built, task, dataset, [by_id.get(key) for key in ids])
        return built

    def _add(
        self,
        built: dict[str, Any],
        place: int,
        num_clips: int,
        record: Record,
        task: Task,
        prompting: PromptingConfig,
        modalities: str,
        examples: Sequence[Record],
    ) -> None:
        try:
            slots = messages.slots(record, task, prompting, modalities, examples)
            described = messages.descriptions(record, prompting, modalities)
        except (DataError, KeyError):
            return  # `_as_read` has said that its description is not there
        for kind, texts in (("slots", slots), ("descriptions", {name: text for name, (text, _) in described.items()})):
            for name, text in texts.items():
                built[kind].setdefault(name, [NONE] * num_clips)[place] = self.texts.number(text)

    def _as_read(
        self, records: list[Record], run: Run, prompting: PromptingConfig, all_known: bool, why: list[str]
    ) -> list[Record]:
        """Records with recognised transcripts and descriptions, after the control, as far as they can be found."""
        config = run.summary.config
        records = with_transcripts(records, run, why)
        names = messages.descriptions_shown(prompting, config["modalities"])
        if not names:
            return records
        generators = read_json(run.folder / "knowledge.json").get("generators", [])
        found = stored(run, generators, names, [record.id for record in records])
        if found.several:
            why.append(
                f"The store has several descriptions of {found.several:,} clips by {', '.join(generators)}: the"
                " earliest is given, and the run may have been shown another"
            )
        texts = {record.id: found.of(record.id, names, generators) for record in records}
        lacking = [record.id for record in records if set(texts[record.id]) != set(names)]
        if lacking:
            why.append(
                f"{len(lacking):,} of {len(records):,} clips have no description in {found.folder}, and so no prompt"
                f" here: {', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''}"
            )
        described = [replace(record, knowledge=texts[record.id]) for record in records if record.id not in set(lacking)]
        control = Control(config["knowledge"].get("control", Control.none.value))
        if control is Control.shuffled and (lacking or not all_known):
            raise DataError(
                "knowledge.control=shuffled gives every clip the descriptions of another, and some clips of this run or"
                " their descriptions are not found here"
            )
        tasks = [
            self.datasets.of(record.dataset, config).config.task_definitions[name]  # type: ignore[union-attr]
            for record in described[:1]
            for name in config["datasets"][record.dataset]["tasks"]
        ]
        return controls.controlled(described, tasks, control, config["seed"])

    def _examples(
        self, records: Sequence[Record], run: Run, dataset: str, task: Task, prompting: PromptingConfig, why: list[str]
    ) -> Mapping[str, tuple[Record, ...]]:
        """The few-shot examples of every record, by id."""
        if not prompting.fewshot.k:
            return {}
        cfg = OmegaConf.to_object(run_config(run.folder))
        assert isinstance(cfg, Config)
        for name, each in cfg.datasets.items():
            each.root = str(located(each.root, run.summary.config))
            if not Path(each.root).exists():
                raise DataError(f"the examples of dataset {name} are not known: {each.root} is not on this machine")
            for task_name, defined in each.task_definitions.items():
                defined.name = task_name
        excluded = _excluded(run.folder)
        [pool] = [part.records for part in loading.read(cfg, ["train"]) if part.dataset == dataset]
        pool = [record for record in pool if record.id not in excluded]
        config = run.summary.config
        if messages.descriptions_shown(prompting, config["modalities"]):
            if config["knowledge"].get("control_split") == ControlSplit.test.value:
                uncontrolled = {**config, "knowledge": {**config["knowledge"], "control": Control.none.value}}
                run = replace(run, summary=replace(run.summary, config=uncontrolled))
            pool = self._as_read(pool, run, prompting, True, why)
        else:
            pool = with_transcripts(pool, run, why)
        return fewshot.choose(records, pool, task, prompting, config["modalities"])

    def _name(self, built: dict[str, Any], task: Task, dataset: str, records: Sequence[Record | None]) -> None:
        """Adds which labels the descriptions name, as the leak audit counts it: a digit a clip, the place in NAMED, or
        a space for a clip without label or description."""
        if not built["descriptions"]:
            return
        vocabulary = controls.vocabulary(task)
        places = self.namings.setdefault(f"{dataset}.{task.name}", {})
        parsed: dict[int, list] = {}
        for name, numbers in built["descriptions"].items():
            digits = []
            for number, record in zip(numbers, records, strict=True):
                if number != NONE and number not in parsed:
                    text = self.texts.listed[number]
                    parsed[number] = namings(text, vocabulary)
                    places[number] = [
                        [_utf16(text[: each.start]), _utf16(text[: each.end]), ", ".join(sorted(each.labels))]
                        for each in parsed[number]
                    ]
                if number == NONE or record is None or task.name not in record.labels:
                    digits.append(" ")
                else:
                    which = leak_audit.which_named(parsed[number], leak_audit.gold_labels(record, task))
                    digits.append(str(leak_audit.NAMED.index(which)))
            built["named"][name] = "".join(digits)


def _key(run: Run, dataset: str, task: str, ids: Sequence[str]) -> str:
    """What prompts depend on: runs with one key share them."""
    config = run.summary.config
    described = bool(config["prompting"].get("descriptions"))
    parts = [dataset, task, config["datasets"][dataset], config["evaluation"]["split"], config["prompting"]]
    parts += [config["modalities"], config["intervention"], read_json(run.folder / "transcripts.json")]
    if described:
        parts += [config["knowledge"], config["seed"], read_json(run.folder / "knowledge.json")]
    if config["prompting"].get("fewshot", {}).get("k"):
        parts.append(sorted(_excluded(run.folder)))
    return json.dumps([*parts, *ids], sort_keys=True)


def _audit(run: Run, task: str) -> list[str]:
    """The leak audit of a run about the descriptions of a task, in sentences."""
    try:
        audits = read_json(run.folder / "leak.json")
        return leak_audit.in_words({task: audits[task]}) if task in audits else []
    except DataError as error:
        return [str(error)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [f"{run.folder / 'leak.json'} is not that of a run of affect ({error!r}): restore the file"]


def _excluded(folder: Path) -> set[str]:
    """Ids of the training clips that a run left out. Raises DataError where they cannot be read."""
    path = folder / "exclusions.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return {row["id"] for row in csv.DictReader(file) if row["split"] == "train"}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}): restore the file, or run again") from error


def _utf16(text: str) -> int:
    """Length of `text` in the units in which JavaScript counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
