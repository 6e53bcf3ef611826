"""Writes down what is said in clips, by a speech recogniser, and keeps it in the store for all runs:

    affect transcribe dataset=manifest datasets.manifest.root=clips.csv
    affect transcribe dataset=ravdess transcription.model=openai/whisper-small

Runs on text make what they lack themselves where datasets.X.transcribe asks for it; this command makes it ahead. Of a
dataset with transcribe=missing the clips without a transcript are transcribed, of others all. Where a dataset has
transcripts of its own, the word error rate against them is printed, by label too. An interrupted command goes on where
it stopped."""

import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from affect.cli.entry import entry
from affect.config import Config, DatasetConfig, Kind

if TYPE_CHECKING:
    from affect.data import Record


@entry("transcribe", __doc__)
def main(cfg: Config, job_folder: str | None) -> None:
    """Raises DataError, after all clips, where some could not be transcribed."""
    from dataclasses import replace

    from affect.cli.knowledge import end_on_signal
    from affect.cli.meter import Meter
    from affect.config import DataError, Transcribe
    from affect.data import SPLITS, annotations
    from affect.data.part import Part
    from affect.data.subsets import draw
    from affect.knowledge import transcripts
    from affect.knowledge.store import folder_of

    signal.signal(signal.SIGTERM, end_on_signal)
    parts = []
    for name, dataset in cfg.datasets.items():
        if dataset.transcribe is Transcribe.none:
            dataset.transcribe = Transcribe.all
        read = annotations.read(name, dataset)
        splits = cfg.transcription.splits or [split for split in SPLITS if split not in read.refusals] or SPLITS
        for split, (records, _) in read.splits(splits).items():
            records, _ = draw(dataset, split, records)
            wanted = [record for record in records if transcripts.made_for(record, cfg)]
            if len(wanted) < len(records):
                print(f"{name} {split}: {len(records) - len(wanted):,} of {len(records):,} clips have a transcript")
            if wanted:
                part = Part(dataset=name, split=split, expected=len(records), outside_subset=0, records=wanted)
                transcripts.check(part, cfg)
                for item in part.excluded:
                    print(f"{item.id}: {item.source}", file=sys.stderr)
                parts.append(part)
    records = [record for part in parts for record in part.records]
    if not records:
        print("No clip lacks a transcript; datasets.X.transcribe=all has all of them transcribed.")
        return
    recogniser = transcripts.Whisper(cfg)
    with Meter(cfg.trainer.progress, "transcripts", "transcribing") as meter:
        filled, rows = transcripts.transcribe(records, cfg, recogniser, begin=meter.begin, progress=meter.advance)
    rate = f", {filled.made / filled.seconds:.2f} a second" if filled.made and filled.seconds else ""
    print(
        f"{filled.known:,} transcripts were in the store, {filled.made:,} made in {filled.seconds:.0f} s{rate},"
        f" {len(filled.failures):,} failed\nby {filled.generator}\nin {folder_of(cfg)}"
    )
    for part in parts:
        made = [replace(record, text=rows[record.id].text) for record in part.records if record.id in rows]
        counts = transcripts.summary(part, made, recogniser)
        languages = " and ".join(counts["languages"]) or "none"
        noted = transcripts.in_words(counts)
        print(f"{part.dataset} {part.split}: {counts['clips']:,} clips, language {languages}{noted}")
    for name, dataset in cfg.datasets.items():
        pairs = [(r, rows[r.id].text) for r in records if r.dataset == name and r.text.strip() and r.id in rows]
        for line in _word_error_rates(name, dataset, pairs):
            print(line)
    if filled.failures:
        first = filled.failures[0]
        raise DataError(
            f"{len(filled.failures):,} clips could not be transcribed; the first, {first.id}: {first.reason}\nAll are"
            f" listed in {filled.listed}; finished transcripts are kept, and the same command tries the others again"
        )


def _word_error_rates(name: str, dataset: DatasetConfig, pairs: "Sequence[tuple[Record, str]]") -> Iterator[str]:
    """Lines about records with a transcript of their own and what the recogniser wrote: the word error rate over all,
    and over the clips of each label of every task of classes."""
    from affect.evaluation.word_errors import NORMALISATION, word_errors

    if not pairs:
        return

    def rate(chosen: "Sequence[tuple[Record, str]]") -> str:
        counted = word_errors((record.text, text) for record, text in chosen)
        return f"{counted.rate:.1%} ({counted.errors:,} of {counted.words:,} words, {len(chosen):,} clips)"

    yield f"{name}: word error rate against its own transcripts, {NORMALISATION}: {rate(pairs)}"
    for task in dataset.tasks:
        if dataset.task_definitions[task].kind is Kind.classification:
            by_label = defaultdict(list)
            for record, text in pairs:
                if task in record.labels:
                    by_label[record.labels[task]].append((record, text))
            for label in sorted(by_label, key=str):
                yield f"  {task} {label}: {rate(by_label[label])}"
