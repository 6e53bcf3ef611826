"""Shows the exact prompt and target of a clip, with token counts a part: affect show clip=meld/test/0/1 …

against=modalities:ta also shows which parts another setting would change, and how."""

from dataclasses import replace
from typing import TYPE_CHECKING

from affect.cli.entry import entry
from affect.config import Config, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from affect.data.part import Part
    from affect.data.record import Record
    from affect.models import Encoder
    from affect.prompting.messages import Example


@entry("show", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    from affect.data import loading

    # What is wrong with the other setting is said before anything is read.
    other = None if cfg.against is None else _other(cfg, cfg.against)
    parts = loading.read(cfg, _splits(cfg))

    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from affect import models
    from affect.models import collate as data
    from affect.models import sampling
    from affect.prompting import token_budget

    record, shots, recognised = _chosen(cfg, parts)
    others = None if other is None else _chosen(other, loading.read(other, _splits(other)))
    model, encoder = models.load(cfg.model, modalities=cfg.modalities, cache_root=Path(cfg.cache_root).expanduser())
    del model  # the encoder knows all that is shown; the weights are loaded because a family loads both together
    console = Console(highlight=False, markup=False)
    for name in cfg.datasets[record.dataset].tasks:
        task = cfg.datasets[record.dataset].task_definitions[name]
        example = token_budget.example(record, task, cfg.prompting, cfg.modalities, encoder.count_text, shots[name])
        batch = data.Collate(encoder, sampling.sampling(cfg), with_answers=example.answer is not None)([example])
        console.rule(f"{record.id} · {task.name}")
        if recognised is not None:
            console.print(recognised, soft_wrap=True)
        if batch.tensors is None:
            console.print(batch.failed[0][1])
            continue
        # Not folded at the terminal's width, which would show line breaks that are not in the prompt.
        console.print(encoder.render(example.messages), end="", soft_wrap=True)
        console.print("(no label: predicted, not scored)" if example.target is None else example.target, soft_wrap=True)
        table = Table("part", "tokens" if encoder.tokens_known else "tokens, estimated")
        for part, count in token_counts(example, cfg, encoder).items():
            table.add_row(part, str(count))
        console.print(table)
        for sentence in token_budget.losses([example], cfg.prompting):
            console.print(sentence)
        if other is not None and others is not None:
            clip, their_shots, _ = others
            asked = other.datasets[clip.dataset].task_definitions[name]
            compared = token_budget.example(
                clip, asked, other.prompting, other.modalities, encoder.count_text, their_shots[name]
            )
            _print_differences(console, str(cfg.against), example, compared)


def _splits(cfg: Config) -> list[str]:
    split = cfg.evaluation.split if cfg.clip is None else _split_of(cfg.clip, cfg)
    # Few-shot examples come from the training split.
    return list(dict.fromkeys([*(["train"] if cfg.prompting.fewshot.k else []), split]))


def _chosen(cfg: Config, parts: "list[Part]") -> "tuple[Record, dict[str, tuple[Record, ...]], str | None]":
    """The record that is shown, its few-shot examples by task, and who recognised its transcript, in words."""
    from affect.data.duplicates import compare_contents
    from affect.knowledge import attach, transcripts
    from affect.prompting import fewshot

    shown = [part for part in parts if part.split == _splits(cfg)[-1]]
    if cfg.clip not in (None, *(record.id for part in shown for record in part.records)):
        _refuse_unknown(cfg.clip, [record.id for part in shown for record in part.records])
    if cfg.knowledge.mllm_run is not None:  # which may be asked for descriptions
        compare_contents(parts, cfg)
    recognised = transcripts.attach(parts, cfg)
    attach.attach(parts, cfg)
    records = [record for part in shown for record in part.records if cfg.clip in (None, record.id)]
    if not records:
        why = next(item.source for part in shown for item in part.excluded if item.id == cfg.clip)
        raise DataError(f"clip={cfg.clip} has no description or transcript that could be shown: {why}")
    record = records[0]
    pool = [r for part in parts if (part.dataset, part.split) == (record.dataset, "train") for r in part.records]
    dataset = cfg.datasets[record.dataset]
    shots = {
        name: fewshot.choose([record], pool, dataset.task_definitions[name], cfg.prompting, cfg.modalities)[record.id]
        for name in dataset.tasks
    }
    row = recognised.rows.get(record.id)
    return record, shots, None if row is None else f"transcript by {row.generator}, made {row.time}"


def _other(cfg: Config, against: str) -> Config:
    """The setting that `against` makes of this one. Raises ConfigError where it has another model or clip."""
    import sys

    from affect.cli.checked import checked
    from affect.config import ConfigError
    from affect.config.groups import own_words
    from affect.runs.sweep_points import Composer

    changed = [word.replace(":", "=", 1) for word in against.split()]
    if wrong := [word for word in changed if "=" not in word]:
        raise ConfigError(f"against={against}: {wrong[0]} has no value: write KEY:VALUE, as in against=modalities:ta")
    replaced = {"against", *(word.split("=", 1)[0] for word in changed)}
    words = [word for word in sys.argv[1:] if word.lstrip("+~").split("=", 1)[0] not in replaced] + changed
    other = checked(Composer(words).compose(words), own_words(words, sys.argv[1:]), "show")
    if (other.model, other.clip, list(other.datasets)) != (cfg.model, cfg.clip, list(cfg.datasets)):
        raise ConfigError(
            f"against={against} compares prompts of one clip for one model: leave model, dataset and clip out of it,"
            " and show the other by a command of its own"
        )
    return other


def _print_differences(console: "Console", against: str, example: "Example", other: "Example") -> None:
    from affect.prompting.differences import differences, parts

    found = differences(example, other)
    same = [name for name in parts(example) if name not in found]
    console.rule(f"against {against}")
    for name, (here, there) in found.items():
        console.print(f"{name}, here: {'(not there)' if here is None else here.strip()}", soft_wrap=True)
        console.print(f"{name}, with {against}: {'(not there)' if there is None else there.strip()}", soft_wrap=True)
    console.print(f"the same in both: {', '.join(same) or 'nothing'}")


def token_counts(example: "Example", cfg: Config, encoder: "Encoder") -> dict[str, int]:
    """Tokens by part. A part counts as what the prompt is shorter without it. Where they are estimated, only what is
    text has any."""
    from affect.models import collate as data
    from affect.models import sampling

    user, sampled = example.messages[-1], sampling.sampling(cfg)
    *media, body = user["content"]

    def with_user(content: list[dict]) -> list[dict]:
        return [*example.messages[:-1], {"role": "user", "content": content}]

    def total(messages: list[dict], without: str) -> tuple[int, int]:
        """Tokens of the whole and of the answer, when one of audio and video is left out."""
        settings = sampled if without == "" else replace(sampled, **{without: False})
        collate = data.Collate(encoder, settings, with_answers=example.answer is not None)
        tensors = collate([replace(example, messages=messages)]).tensors
        assert tensors is not None, "the clip has just been decoded"
        return int(tensors["attention_mask"].sum()), tensors["answer_length"]

    text, counts = encoder.count_text(example.messages), {}
    for slot, words in example.shown.items():
        shorter = {"type": "text", "text": body["text"].replace(words, "", 1)}
        counts[slot] = text - encoder.count_text(with_user([*media, shorter]))
    if not encoder.tokens_known:
        return counts | {"system turn": text - sum(counts.values()), "sum, without audio and video": text}
    sum_of_tokens, answer = total(example.messages, "")
    of_media = {
        kind: sum_of_tokens - total(with_user([part for part in user["content"] if part["type"] != kind]), kind)[0]
        for letter, kind in (("v", "video"), ("a", "audio"))
        if letter in cfg.modalities
    }
    counts = of_media | counts
    counts["system turn and template"] = sum_of_tokens - answer - sum(counts.values())
    return counts | {"answer, with end of turn": answer, "sum": sum_of_tokens}


def _split_of(clip: str, cfg: Config) -> str:
    """The split an id names in its second part, or the evaluated one for ids of another form."""
    from affect.data import SPLITS

    named = clip.split("/")[1] if clip.count("/") else ""
    return named if named in SPLITS else cfg.evaluation.split


def _refuse_unknown(clip: str | None, ids: list[str]) -> None:
    from affect.config import ConfigError, near

    raise ConfigError(f"clip={clip} is not a record{near(clip or '', ids)} The first ids: {', '.join(ids[:3])}")
