"""Shows the exact prompt and target of a clip, with token counts a part: python -m affect.show clip=meld/test/0/1 …"""

from affect.config import Config
from affect.entry import entry


@entry("show", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    from affect import splits

    parts = splits.read(cfg, [cfg.evaluation.split] if cfg.clip is None else [_split_of(cfg.clip, cfg)])
    records = [record for part in parts for record in part.records if cfg.clip in (None, record.id)]
    if not records:
        _refuse_unknown(cfg.clip, [record.id for part in parts for record in part.records])

    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from affect import data, models, prompts

    model, encoder = models.load(cfg.model, modalities=cfg.modalities, cache_root=Path(cfg.cache_root).expanduser())
    del model  # the encoder knows all that is shown; the weights are loaded because a family loads both together
    record, console = records[0], Console(highlight=False, markup=False)
    for name in cfg.datasets[record.dataset].tasks:
        task = cfg.datasets[record.dataset].task_definitions[name]
        example = prompts.example(record, task, cfg.prompting, cfg.modalities, encoder.count_text)
        batch = data.Collate(encoder, data.sampling(cfg), with_answers=example.answer is not None)([example])
        console.rule(f"{record.id} · {task.name}")
        if batch.tensors is None:
            console.print(batch.failed[0][1])
            continue
        console.print(encoder.render(example.messages), end="")
        console.print(example.answer if example.answer is not None else "(no label: predicted, not scored)")
        table = Table("part", "tokens")
        for part, count in token_counts(record, example, cfg, encoder, batch.tensors).items():
            table.add_row(part, str(count))
        console.print(table)
        if example.dropped_turns or example.dropped_words:
            console.print(
                f"shortened to prompting.max_text_tokens={cfg.prompting.max_text_tokens}: {example.dropped_turns}"
                " context turns"
                f" and {example.dropped_words} words of the transcript were left out"
            )


def token_counts(record, example, cfg: Config, encoder, tensors: dict) -> dict[str, int]:
    """Tokens by part. A slot of text counts as what the prompt is shorter without it."""
    from affect import prompts

    text = encoder.count_text(example.messages)
    media = int(tensors["attention_mask"].sum()) - text - tensors["answer_length"]
    counts = {"audio and video": media}
    body = example.messages[-1]["content"][-1]["text"]
    for slot, words in prompts.slots(record, example.task, cfg.prompting, cfg.modalities).items():
        if words not in body:
            continue  # cut to the budget; what is left of it is in the template's count
        user = {
            "role": "user",
            "content": [*example.messages[-1]["content"][:-1], {"type": "text", "text": body.replace(words, "", 1)}],
        }
        counts[slot] = text - encoder.count_text([*example.messages[:-1], user])
    counts["system turn and template"] = text - sum(
        count for slot, count in counts.items() if slot != "audio and video"
    )
    counts["answer, with end of turn"] = tensors["answer_length"]
    return counts | {"sum": int(tensors["attention_mask"].sum())}


def _split_of(clip: str, cfg: Config) -> str:
    """The split an id names in its second part, or the evaluated one for ids of another form."""
    from affect.record import SPLITS

    named = clip.split("/")[1] if clip.count("/") else ""
    return named if named in SPLITS else cfg.evaluation.split


def _refuse_unknown(clip: str | None, ids: list[str]) -> None:
    from affect.config import ConfigError, near

    raise ConfigError(f"clip={clip} is not a record{near(clip or '', ids)} The first ids: {', '.join(ids[:3])}")


if __name__ == "__main__":
    main()
