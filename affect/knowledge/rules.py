"""Rules over several fields of the group `knowledge`."""

import re
from collections.abc import Iterator

from affect.config import (
    DESCRIPTIONS,
    BaselineConfig,
    Config,
    Control,
    ServerConfig,
    Source,
    Transcribe,
    endpoint,
    near,
)
from affect.config.model import spell
from affect.data import SPLITS
from affect.knowledge.sources import cue_words


def transcription_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """A sentence for each broken rule about recognised transcripts."""
    for split in cfg.transcription.splits:
        if split not in SPLITS:
            yield f"transcription.splits has '{split}'{near(split, SPLITS)} Splits: {', '.join(SPLITS)}"
    for name, dataset in cfg.datasets.items():
        if "a" in dataset.modalities:
            continue
        if program == "transcribe":
            yield (
                f"affect transcribe needs the sound of clips, but dataset={name} has only {spell(dataset.modalities)}:"
                f" choose another dataset, or set datasets.{name}.modalities if it has sound"
            )
        elif dataset.transcribe is Transcribe.all:
            yield (
                f"datasets.{name}.transcribe=all needs the sound of clips, but dataset={name} has only"
                f" {spell(dataset.modalities)}: set datasets.{name}.transcribe=none, or datasets.{name}.modalities if"
                " it has sound"
            )


def judge_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """A sentence for each broken rule about the judge of descriptions. Reads the environment, for the server's key."""
    if not cfg.judge or program != "quality":
        return
    if isinstance(cfg.model, ServerConfig):
        yield from endpoint.lacking(endpoint.of_model(cfg.model))
    else:
        yield (
            f"judge=true asks a model behind a server, but model={cfg.model.name} is none: give model=server"
            " model.url=http://localhost:8000/v1 model.served=NAME, or leave judge out"
        )


def knowledge_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """A sentence for each broken rule."""
    knowledge, prompting = cfg.knowledge, cfg.prompting
    sources = [knowledge.source, *knowledge.also]
    named = "+".join(source.value for source in sources)
    for name in knowledge.modalities:
        if name not in DESCRIPTIONS:
            yield (
                f"knowledge.modalities has '{name}', which cannot be described{near(name, DESCRIPTIONS)} Choose from"
                f" {', '.join(DESCRIPTIONS)}"
            )
    if not knowledge.modalities and knowledge.source is not Source.none:
        yield f"knowledge.modalities is empty: choose from {', '.join(DESCRIPTIONS)}"
    if Source.none in knowledge.also or (knowledge.source is Source.none and knowledge.also):
        yield (
            f"knowledge.also=[{','.join(s.value for s in knowledge.also)}] adds to knowledge={knowledge.source.value}:"
            " name sources in both"
        )
    if len(set(sources)) < len(sources):
        yield f"knowledge={named} names a source twice: name each once, in knowledge or in knowledge.also"
    if Source.file in sources and knowledge.file_path is None:
        yield "knowledge=file without a file: name it, knowledge.file_path=descriptions.jsonl"
    if Source.file not in sources and knowledge.file_path is not None:
        yield (
            f"knowledge.file_path={knowledge.file_path} is read by knowledge=file, but knowledge={named}: leave it out,"
            " or choose knowledge=file"
        )
    if Source.cues in sources:
        chosen = {"audio": knowledge.cues_audio, "video": knowledge.cues_video}
        yield from cue_words.problems(chosen, {name: dataset.language for name, dataset in cfg.datasets.items()})
    # Checked for an unused server too, since run folders keep the values.
    yield from endpoint.problems(endpoint.of_knowledge(knowledge))
    if Source.server in sources:
        yield from endpoint.unnamed(endpoint.of_knowledge(knowledge))
    for name, generator in knowledge.mllm_models.items():
        if Source.mllm in sources and isinstance(generator, ServerConfig):
            yield (
                f"knowledge.mllm_models.{name}={generator.name}, but knowledge=mllm loads the weights of its models:"
                " for descriptions by a server, choose knowledge=server knowledge.server_url=… knowledge.server_model=…"
            )
        if Source.mllm in sources and isinstance(generator, BaselineConfig):
            yield (
                f"knowledge.mllm_models.{name}={generator.name} is no language model and writes no descriptions:"
                " choose one that does, model@knowledge.mllm_models.main=qwen2_5_omni_7b"
            )
    for split in knowledge.splits:
        if split not in SPLITS:
            yield f"knowledge.splits has '{split}'{near(split, SPLITS)} Splits: {', '.join(SPLITS)}"
    if program == "knowledge":
        if knowledge.source is Source.none:
            yield "knowledge=none describes nothing: choose a source, knowledge=cues"
        if not knowledge.splits:
            yield f"knowledge.splits is empty: choose from {', '.join(SPLITS)}"
        if knowledge.shard is not None:
            match = re.fullmatch(r"(\d+)/(\d+)", knowledge.shard)
            if match is None or not int(match[1]) < int(match[2]):
                yield (
                    f"knowledge.shard={knowledge.shard} is not a share: write i/n with i from 0 to n - 1,"
                    " knowledge.shard=0/4 to knowledge.shard=3/4"
                )
        return
    if program not in ("train", "evaluate", "show"):
        return
    if knowledge.control is not Control.none and not prompting.descriptions:
        yield (
            f"knowledge.control={knowledge.control.value} changes descriptions, but prompting={prompting.name} shows"
            " none: choose prompting=knowledge, or leave the control out"
        )
    if prompting.descriptions and knowledge.source is Source.none:
        yield (
            f"prompting={prompting.name} shows descriptions of {' and '.join(prompting.descriptions)}, but"
            " knowledge=none: choose who makes them, knowledge=cues, or prompting=plain"
        )
    elif undescribed := [name for name in prompting.descriptions if name not in knowledge.modalities]:
        yield (
            f"prompting={prompting.name} shows descriptions of {' and '.join(undescribed)}, but"
            f" knowledge.modalities={','.join(knowledge.modalities)}: add them there, or take them out of"
            " prompting.descriptions"
        )
    if prompting.descriptions_without_media:  # otherwise the rules of modalities refuse it
        for name, dataset in cfg.datasets.items():
            for kind in prompting.descriptions:
                if not set(DESCRIPTIONS.get(kind, "")) <= set(dataset.modalities):
                    yield (
                        f"prompting.descriptions has {kind}, but dataset={name} has only {spell(dataset.modalities)}:"
                        " take it out"
                    )
