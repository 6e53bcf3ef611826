"""Interventions on transcripts. Descriptions are attached before, so that they stay those of the unchanged clips."""

from collections.abc import Sequence
from dataclasses import replace

from affect.config import Config, Intervention, Transcribe
from affect.config.logs import LOG, is_first
from affect.data.interventions import masked
from affect.data.part import Part
from affect.knowledge import transcripts
from affect.knowledge.transcripts import Transcripts


def change_texts(parts: Sequence[Part], cfg: Config, recognised: Transcripts) -> Transcripts:
    """Changes the transcripts of the evaluated split as cfg.intervention says, and gives those that a recogniser has
    made: `recognised`, with what asr_text adds. Raises as transcripts.attach does."""
    config, evaluated = cfg.intervention, [part for part in parts if part.split == cfg.evaluation.split]
    if config.name is Intervention.text_masked:
        for part in evaluated:
            part.records = [masked(record, config) for record in part.records]
        if is_first():
            LOG.info(f"intervention={config}: words of the transcripts are masked in the {cfg.evaluation.split} split")
    if config.name is not Intervention.asr_text:
        return recognised
    if is_first():
        LOG.info(f"intervention={config}: transcripts of the {cfg.evaluation.split} split are those of the recogniser")
    all_transcribed = {name: replace(dataset, transcribe=Transcribe.all) for name, dataset in cfg.datasets.items()}
    added = transcripts.attach(evaluated, replace(cfg, datasets=all_transcribed))
    others = [counts for counts in recognised.parts if counts["split"] != cfg.evaluation.split]
    return replace(added, rows=recognised.rows | added.rows, parts=[*others, *added.parts])
