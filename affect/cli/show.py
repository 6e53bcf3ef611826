"""Shows the exact prompt and target of a clip, with token counts a part: affect show clip=meld/test/0/1 …"""

from dataclasses import replace
from typing import TYPE_CHECKING

from affect.cli.entry import entry
from affect.config import Config, DataError

if TYPE_CHECKING:
    from affect.models import Encoder
    from affect.prompting.messages import Example


@entry("show", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    from affect.data import loading

    split = cfg.evaluation.split if cfg.clip is None else _split_of(cfg.clip, cfg)
    # Few-shot examples come from the training split.
    parts = loading.read(cfg, list(dict.fromkeys([*(["train"] if cfg.prompting.fewshot.k else []), split])))
    shown = [part for part in parts if part.split == split]
    if cfg.clip not in (None, *(record.id for part in shown for record in part.records)):
        _refuse_unknown(cfg.clip, [record.id for part in shown for record in part.records])

    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from affect import models
    from affect.data.duplicates import compare_contents
    from affect.knowledge import attach, transcripts
    from affect.models import collate as data
    from affect.models import sampling
    from affect.prompting import fewshot
    from affect.prompting import messages as prompts

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
    model, encoder = models.load(cfg.model, modalities=cfg.modalities, cache_root=Path(cfg.cache_root).expanduser())
    del model  # the encoder knows all that is shown; the weights are loaded because a family loads both together
    console = Console(highlight=False, markup=False)
    for name in cfg.datasets[record.dataset].tasks:
        task = cfg.datasets[record.dataset].task_definitions[name]
        chosen = fewshot.choose([record], pool, task, cfg.prompting, cfg.modalities)[record.id]
        example = prompts.example(record, task, cfg.prompting, cfg.modalities, encoder.count_text, chosen)
        batch = data.Collate(encoder, sampling.sampling(cfg), with_answers=example.answer is not None)([example])
        console.rule(f"{record.id} · {task.name}")
        if record.id in recognised.rows:
            row = recognised.rows[record.id]
            console.print(f"transcript by {row.generator}, made {row.time}", soft_wrap=True)
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
        for sentence in prompts.losses([example], cfg.prompting):
            console.print(sentence)


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
