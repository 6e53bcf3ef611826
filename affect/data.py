"""Records to batches: clips are checked once at the start, and decoded and encoded as batches are asked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Sampler

from affect import decoded, fewshot, imbalance, launch, prompts
from affect.cache import check_clips, file_versions
from affect.config import Calibration, Config, Media, ServerConfig, Target, TrainerConfig
from affect.lifetime import is_first, say
from affect.media import NOTES, SAMPLING_RATE, Clip, MediaError, Sampling, decode
from affect.models import Conversation, Encoder, own_frames, precision
from affect.prefetch import Prefetching
from affect.prompts import Example
from affect.record import DataError, Record
from affect.splits import Part
from affect.tables import Excluded
from affect.tensor_files import GIGABYTE

if TYPE_CHECKING:
    from affect.encoded import Outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a step gets."""

    examples: list[Example]
    tensors: dict[str, Any] | None
    """What the family's encoder made of `examples`; None where there are none."""
    failed: list[tuple[Example, str]]
    """Examples whose clip was usable when it was checked and is no longer, with the reason. They are in nothing
    else."""

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU reads by itself; a DataLoader calls it."""
        if self.tensors is None:
            return self
        return replace(self, tensors={k: _pinned(v) for k, v in self.tensors.items()})


def _pinned(value: Any) -> Any:
    return value.pin_memory() if isinstance(value, torch.Tensor) else value


def sampling(cfg: Config) -> Sampling:
    """What is taken from a clip, for the modalities and the model of this run."""
    return Sampling(
        audio="a" in cfg.modalities,
        video="v" in cfg.modalities,
        num_frames=cfg.model.num_frames,
        frame_size=cfg.model.frame_size,
        max_seconds=cfg.model.max_seconds,
        own=own_frames(cfg.model) if cfg.model.media is Media.native and "v" in cfg.modalities else None,
    )


def progress(enabled: bool) -> Progress:
    """A progress bar in the style of all of affect's."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not enabled)


def exclude_unusable(parts: list[Part], cfg: Config) -> decoded.Source:
    """Really decodes every clip once (the result is kept under cache_root) and moves the records whose clip cannot be
    used to their part's exclusions. Gives where to get the others from. Raises DataError where a part is left with
    nothing."""
    wanted = sampling(cfg)
    if not (wanted.audio or wanted.video):
        return decoded.Source(None, {})
    cache_root = Path(cfg.cache_root).expanduser()
    files = decoded.open_files(cache_root, cfg.trainer.clip_cache_gb, say)

    def take(record: Record, digest: str | None) -> Clip:
        if files is None or digest is None:
            return decode(record.media, wanted, record.start, record.end, record.audio_track)
        return decoded.take(files, [digest, *record.part], record, wanted)

    seconds: dict[str, float] = {}
    for part in parts:
        with progress(cfg.trainer.progress) as bar:
            task = bar.add_task(f"checking clips of {part.dataset} {part.split}", total=len(part.records))
            checks = check_clips(
                part.records,
                wanted,
                cache_root,
                num_workers=cfg.trainer.check_workers,
                progress=lambda done, bar=bar, task=task: bar.update(task, advance=done),
                take=take,
            )
        bad = [record for record in part.records if checks[record.id].outcome != "ok"]
        part.excluded += [
            Excluded(id=r.id, split=part.split, reason=checks[r.id].outcome, source=checks[r.id].detail) for r in bad
        ]
        left = {record.id for record in bad}
        part.records = [record for record in part.records if record.id not in left]
        seconds |= {record.id: checks[record.id].seconds for record in part.records}
        if not part.records:
            raise DataError(
                f"no clip of dataset '{part.dataset}', split '{part.split}' can be used; the first of {len(bad)}:"
                f" {checks[bad[0].id].detail}"
            )
        for note, meaning in NOTES.items():
            noted = [record for record in part.records if note in checks[record.id].notes]
            if noted:
                say(
                    f"{part.dataset} {part.split}: {len(noted)} of {len(checks)} clips are used although {meaning}:"
                    f" {noted[0].media}: {checks[noted[0].id].notes[note]}"
                    + (" (the doctor names the others)" if len(noted) > 1 else "")
                )
        if bad:
            say(
                f"{part.dataset} {part.split}: {len(bad)} of {len(checks)} clips cannot be"
                " used and are left out; a run lists them in exclusions.csv"
            )
    if files is not None and is_first():
        say(
            f"decoded clips are kept in {files.folder}, {files.size() / GIGABYTE:.2f} of at most"
            f" {files.limit / GIGABYTE:g} GB (trainer.clip_cache_gb)"
        )
    paths = {record.media for part in parts for record in part.records if record.media is not None}
    return decoded.Source(files, file_versions(paths, cache_root), seconds)


def examples(parts: list[Part], split: str, cfg: Config, encoder: Encoder, labelled_only: bool) -> list[Example]:
    """An example for every task of every record of a split, within the token budget."""
    made, chosen = [], fewshot.for_split(parts, split, cfg)
    for part in parts:
        if part.split != split:
            continue
        config = cfg.datasets[part.dataset]
        for record in part.records:
            for name in config.tasks:
                if labelled_only and name not in record.labels:
                    continue
                task = config.task_definitions[name]
                shots = chosen[record.id, name]
                example = prompts.example(record, task, cfg.prompting, cfg.modalities, encoder.count_text, shots)
                if cfg.evaluation.calibration is Calibration.contextual and split != "train":
                    blank = prompts.content_free(example, cfg.prompting, cfg.modalities)
                    example = replace(example, content_free=blank)
                made.append(example)
    for sentence in prompts.losses(made, cfg.prompting):
        say(f"{split}: {sentence}")
    return made


class Collate:
    """Examples to a Batch; runs in the workers."""

    def __init__(
        self,
        encoder: Encoder,
        wanted: Sampling,
        with_answers: bool,
        source: decoded.Source | None = None,
        outputs: "Outputs | None" = None,
    ) -> None:
        """Without a `source` every clip is decoded; with `outputs`, what encoders made of the clips takes their
        place."""
        assert encoder.sampling_rate == SAMPLING_RATE, f"clips are decoded at {SAMPLING_RATE} Hz"
        self.encoder, self.wanted, self.with_answers = encoder, wanted, with_answers
        self.source = decoded.Source(None, {}) if source is None else source
        self.outputs = outputs

    def __call__(self, asked: list[Example]) -> Batch:
        conversations, kept, failed = [], [], []
        ready = None if self.outputs is None else self.outputs.of([example.record for example in asked])
        wanted = self.wanted if ready is None else self.outputs.beside(self.wanted)
        for i, example in enumerate(asked):
            waveform, frames, seconds, picked = None, None, 0.0, None
            if wanted.audio or wanted.video:
                try:
                    clip = self.source.clip(example.record, wanted)
                except MediaError as error:
                    failed.append((example, str(error)))
                    continue
                waveform, frames, seconds, picked = clip.waveform, clip.frames, clip.seconds, clip.picked
            kept.append(example)
            conversations.append(
                Conversation(
                    messages=example.messages,
                    answer=example.target if self.with_answers else None,
                    waveform=waveform,
                    frames=frames,
                    seconds=seconds,
                    picked=picked,
                    outputs={} if ready is None else ready[i],
                )
            )
        return Batch(examples=kept, tensors=self.encoder.encode(conversations) if kept else None, failed=failed)


WINDOW = 16
"""Optimiser steps within which clips of like length are put together, at the most: enough that little is padded, few
enough that the order stays random."""

WINDOWS = 4
"""Windows of an epoch, at the least. With a single one, every epoch would have the same clips together."""


class EpochSampler(Sampler[int]):
    """This process's share of an order that depends on nothing but seed and epoch, so that a run can be taken up again:
    the first `skip` clips of the share are left out in epoch `epoch`, because they have been seen.

    `lengths` are those of the prompts. A random permutation is cut into windows, each is sorted by length and cut into
    what an optimiser step sees, `step_size` clips over all batches and processes, and the steps of a window are put in
    random order. So the clips of a step do not depend on how it is cut into batches. With `weights`, one a clip, the
    epoch is as long, but drawn with replacement, with probabilities proportional to them.
    """

    def __init__(
        self,
        lengths: Sequence[float],
        seed: int,
        *,
        step_size: int,
        epoch: int = 0,
        skip: int = 0,
        rank: int = 0,
        num_processes: int = 1,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.lengths, self.seed, self.epoch = lengths, seed, epoch
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.skip, self.skip_epoch = skip, epoch
        self.rank, self.num_processes = rank, num_processes
        self.step_size = step_size

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Of a whole epoch's share: that is what steps and learning rates are counted by."""
        return -(-len(self.lengths) // self.num_processes)

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        skip = self.skip if self.epoch == self.skip_epoch else 0
        return iter(share(order, self.rank, self.num_processes)[skip:])

    def order(self) -> list[int]:
        """The clips of the present epoch, of all processes together."""
        generator, count = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch), len(self.lengths)
        if self.weights is None:
            shuffled = torch.randperm(count, generator=generator).tolist()
        else:
            shuffled = torch.multinomial(self.weights, count, replacement=True, generator=generator).tolist()
        order: list[int] = []
        size = max(1, min(WINDOW, count // self.step_size // WINDOWS)) * self.step_size
        for at in range(0, count, size):
            window = sorted(shuffled[at : at + size], key=lambda i: self.lengths[i])
            whole = len(window) // self.step_size
            for step in torch.randperm(whole, generator=generator).tolist():
                order += window[step * self.step_size : (step + 1) * self.step_size]
            order += window[whole * self.step_size :]  # the epoch's last step, where it is a smaller one
        return order


def filled(whole: list[Any], num_processes: int) -> list[Any]:
    """`whole`, and its beginning again as far as it takes for all processes to get as many."""
    return [*islice(cycle(whole), len(whole) + -len(whole) % num_processes)]


def share(whole: list[Any], rank: int, num_processes: int) -> list[Any]:
    """One process's part of the clips of an epoch or the batches of an evaluation. All get as many, since every step
    waits for all processes; so some come twice, in an evaluation too, where Predictions counts them once."""
    return filled(whole, num_processes)[rank::num_processes]


CHARACTERS = 4
"""Of a token of text, about: what tokens of sound are put beside characters by."""


def prompt_length(example: Example, audio_tokens: float = 0.0) -> float:
    """Characters of the prompt's text, and those that as many tokens of sound would be: what it takes to put like
    lengths together, without tokenising everything."""
    texts = (part["text"] for part in example.messages[-1]["content"] if part["type"] == "text")
    return sum(map(len, texts)) + CHARACTERS * audio_tokens


def example_length(example: Example, encoder: Encoder, source: decoded.Source | None) -> float:
    """`prompt_length`, with the sound of `source`, which is None where no sound is wanted."""
    seconds = 0.0 if source is None else source.seconds[example.record.id]
    return prompt_length(example, seconds * encoder.audio_tokens_per_second)


MOST_WORKERS = 4
"""Processes that trainer.num_workers=auto has on a GPU at the most. Where a clip is read from the cache of decoded
clips, more of them have nothing to do."""


def num_workers(trainer: TrainerConfig, on_gpu: bool) -> int:
    """What trainer.num_workers means here. A core is left to the training process."""
    if trainer.num_workers != "auto":
        return int(trainer.num_workers)
    return max(0, min(MOST_WORKERS, launch.cores() - 1)) if on_gpu else 0


def batches_by_task(asked: list[Example], batch_size: int, length: Callable[[Example], float]) -> list[list[int]]:
    """Batches of indices for evaluation: one task and language each, since they are read alike, and like lengths
    together, longest first, so that little is padded and too large a batch is met at once."""
    order = sorted(
        range(len(asked)),
        key=lambda i: (asked[i].record.dataset, asked[i].task.name, asked[i].language, -length(asked[i]), i),
    )
    batches: list[list[int]] = []
    for i in order:
        last = asked[batches[-1][-1]] if batches else None
        same = last is not None and last.task is asked[i].task and last.language == asked[i].language
        if same and len(batches[-1]) < batch_size:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


class ClipData(L.LightningDataModule):
    """The loaders of a run. `by_split` has the examples of each split that is used; training begins with batch
    `batches_done` of epoch `epoch`. `weights`, by task and label, are how often training examples are drawn; without
    any, each comes once an epoch."""

    def __init__(
        self,
        by_split: dict[str, list[Example]],
        encoder: Encoder,
        cfg: Config,
        epoch: int = 0,
        batches_done: int = 0,
        weights: imbalance.ByClass | None = None,
        source: decoded.Source | None = None,
        outputs: "Outputs | None" = None,
    ) -> None:
        super().__init__()
        self.source, self.outputs = source, outputs
        self.weights, self.class_sampling = weights, cfg.finetuning.sampling.value
        # A head reads the end of the prompt.
        self.teaches_answers = cfg.finetuning.target is Target.answer
        self.epoch, self.batches_done = epoch, batches_done
        self.by_split, self.encoder = by_split, encoder
        self.wanted, self.trainer_config, self.seed = sampling(cfg), cfg.trainer, cfg.seed
        # A server's model computes elsewhere.
        self.on_gpu = not isinstance(cfg.model, ServerConfig) and precision.device(cfg.trainer).type == "cuda"
        self.eval_batch_size, self.eval_split = cfg.evaluation.batch_size, cfg.evaluation.split
        self._step_totals: tuple[int, list[int]] | None = None
        """Epoch, and what `step_total` says of its steps."""
        self._target_sizes: dict[str, int] = {}

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _num_processes(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    def _loader(self, split: str, with_answers: bool, **how: Any) -> DataLoader:
        workers = num_workers(self.trainer_config, self.on_gpu)
        return Prefetching(
            self.by_split[split],
            ahead=self.trainer_config.prefetch,
            collate_fn=Collate(self.encoder, self.wanted, with_answers, self.source, self.outputs),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.on_gpu,
            # Of its own: an iterator draws a number when it is made, and that must not shift the dropout of a run that
            # was taken up again.
            generator=torch.Generator().manual_seed(self.seed),
            **how,
        )

    def _length(self, example: Example) -> float:
        return example_length(example, self.encoder, self.source if self.wanted.audio else None)

    def train_dataloader(self) -> DataLoader:
        batch_size = self.trainer_config.batch_size
        self.sampler = sampler = EpochSampler(
            [self._length(example) for example in self.by_split["train"]],
            self.seed,
            step_size=batch_size * self.trainer_config.accumulate * self._num_processes,
            epoch=self.epoch,
            skip=self.batches_done * batch_size,
            rank=self._rank,
            num_processes=self._num_processes,
            weights=imbalance.example_weights(self.by_split["train"], self.weights) if self.weights else None,
        )
        if self.weights and is_first():
            drawn = imbalance.drawn_in_words(self.by_split["train"], sampler.order())
            say(f"finetuning.sampling={self.class_sampling}: epoch {self.epoch + 1} draws {drawn}")
        return self._loader("train", self.teaches_answers, batch_size=batch_size, sampler=sampler)

    def step_total(self, index: int) -> int:
        """What the losses of an optimiser step are divided by to be its mean: answer tokens (examples, where heads are
        trained) of all batches, of all processes, that share the step of batch `index` of the present epoch. A clip
        that can no longer be read is counted, since its own process alone knows: its step is that much smaller."""
        epoch, totals = self.sampler.epoch, self._step_totals
        if totals is None or totals[0] != epoch:
            num_processes, limit = self._num_processes, self.trainer_config.max_batches
            whole = filled(self.sampler.order(), num_processes)
            if limit is not None:
                whole = whole[: limit * self.trainer_config.batch_size * num_processes]
            size = self.sampler.step_size
            steps = [whole[at : at + size] for at in range(0, len(whole), size)]
            totals = self._step_totals = epoch, [sum(map(self._size, step)) for step in steps]
        return totals[1][index // self.trainer_config.accumulate]

    def _size(self, at: int) -> int:
        if not self.teaches_answers:
            return 1
        target = self.by_split["train"][at].target
        if target not in self._target_sizes:
            self._target_sizes[target] = len(self.encoder.answer_ids(target))
        return self._target_sizes[target]

    def _evaluation_loader(self, split: str) -> DataLoader:
        asked = self.by_split[split]
        batches = batches_by_task(asked, self.eval_batch_size, self._length)
        return self._loader(split, False, batch_sampler=share(batches, self._rank, self._num_processes))

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader(self.eval_split)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        if batch.tensors is None or device.type == "cpu":  # where they are made
            return batch
        moved = {
            k: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v for k, v in batch.tensors.items()
        }
        return Batch(examples=batch.examples, tensors=moved, failed=batch.failed)
