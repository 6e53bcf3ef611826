"""Alignment: fits new encoders and projectors before the language model is trained.

The soft tokens of an untrained encoder are noise to the language model, and a step through all its layers costs as much
as many steps of a small encoder. So new towers are trained on the answers directly first: cross-entropy over the
cosines between the mean of a clip's soft tokens and the language model's embeddings of the distinct training answers.
Afterwards the soft tokens of an angry voice lie near the word that will be asked for. Only training clips are learnt
from; the validation split is measured.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from affect.config import Config, FinetuningConfig
from affect.data.clips import ClipSource
from affect.data.progress import progress
from affect.data.tensor_store import GIGABYTE
from affect.models import Encoder, Model, precision
from affect.models.collate import Collate
from affect.models.encoder_cache import Outputs
from affect.models.sampling import sampling
from affect.prompting.messages import Example
from affect.training.datamodule import num_workers
from affect.training.prefetch import Prefetching

BATCH_SIZE = 16

KEPT = GIGABYTE
"""Bytes of training clips of one modality that stay in memory between epochs. Further clips are read and encoded again
in every epoch."""

SHARPNESS = 1.0
"""Initial logarithm of the learnt factor on the cosines. Together with SMOOTHING it keeps soft tokens from being more
certain on training clips than on others: on two folds of RAVDESS the held-out loss stayed near or below chance with
both, and rose higher without; accuracy was about the same."""

SMOOTHING = 0.1
"""Label smoothing: share of each target that is spread over all answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """Result of one modality on the validation split."""

    modality: str
    loss: float | None
    """Mean cross-entropy in nats; None where no validation clip has one of the training answers."""
    accuracy: float | None
    """Share of answers that are nearest to their clip's soft tokens; None like `loss`. It is no result, since the
    language model has not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    clips: Any
    """On the CPU: the encoder's input, or the states of an encoder that is not trained."""
    targets: list[tuple[int, tuple[str, str], int]]
    """(row, (dataset, task), index of the answer among the task's) of every labelled question about the batch's
    clips."""

    def num_bytes(self) -> int:
        tensors = self.clips.values() if isinstance(self.clips, dict) else [self.clips]
        return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))


class _Clips:
    """The clips of a split in batches, of one modality. A batch is read when it is requested, and always has the same
    clips."""

    def __init__(
        self, clips: list[list[Example]], collate: Collate, modality: str, answers: dict[tuple[str, str], list[str]]
    ) -> None:
        self.clips, self.modality, self.answers = clips, modality, answers
        outputs = collate.outputs
        kept = {} if outputs is None else {p: i for p, i in outputs.identities.items() if p == modality}
        wanted = replace(collate.wanted, audio=modality == "audio", video=modality == "video")
        self.collate = Collate(
            collate.encoder, wanted, False, collate.source, replace(outputs, identities=kept) if kept else None
        )

    def __len__(self) -> int:
        return -(-len(self.clips) // BATCH_SIZE)

    def __getitem__(self, index: int) -> _Batch | None:
        """None if none of the clips can be read."""
        chunk = self.clips[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
        batch = self.collate([self._alone(questions[0]) for questions in chunk])
        rows = {example.record.id: row for row, example in enumerate(batch.examples)}
        targets = [
            (rows[e.record.id], _key(e), self.answers[_key(e)].index(e.answer_in_words))
            for questions in chunk
            for e in questions
            if e.record.id in rows
        ]
        return None if batch.tensors is None else _Batch(clips=batch.tensors, targets=targets)

    def _alone(self, example: Example) -> Example:
        """The example without the other modality."""
        parts = ("text", self.modality)
        messages = [{**m, "content": [p for p in m["content"] if p["type"] in parts]} for m in example.messages]
        return replace(example, messages=messages)


def align(
    model: Model,
    encoder: Encoder,
    train: list[Example],
    val: list[Example],
    cfg: Config,
    source: ClipSource | None = None,
    outputs: Outputs | None = None,
) -> list[Aligned]:
    """Fits the new towers of `model` in place, one modality after the other. trainer.max_batches limits the clips, as
    it limits training and evaluation. `source` and `outputs` are those of models.collate.Collate."""
    answers: dict[tuple[str, str], list[str]] = {}
    for example in train:
        known = answers.setdefault(_key(example), [])
        if example.answer_in_words not in known:
            known.append(example.answer_in_words)
    # With a single answer in the training split there is nothing to tell apart.
    answers = {key: known for key, known in answers.items() if len(known) > 1}
    if not answers:
        return []
    model.to(precision.device(cfg.trainer))
    collate = Collate(encoder, sampling(cfg), False, source, outputs)
    with torch.no_grad():
        prototypes = {key: _prototypes(model, encoder, known) for key, known in answers.items()}
    sizes = {"train": cfg.trainer.batch_size, "val": cfg.evaluation.batch_size}
    by_split = {
        split: _by_clip(examples, answers, None if (n := cfg.trainer.max_batches) is None else n * sizes[split])
        for split, examples in (("train", train), ("val", val))
    }
    aligned = []
    with progress(cfg.trainer.progress) as bar:
        for modality, modules in model.soft_token_modules().items():
            clips = {split: _Clips(asked, collate, modality, answers) for split, asked in by_split.items()}
            steps = cfg.finetuning.alignment_epochs * len(clips["train"])
            task = bar.add_task(f"aligning {modality}", total=steps)
            tick = partial(bar.update, task, advance=1)
            aligned.append(_fit(modality, modules, clips, prototypes, cfg, tick))
    return aligned


def _key(example: Example) -> tuple[str, str]:
    return example.record.dataset, example.task.name


def _prototypes(model: Any, encoder: Encoder, answers: list[str]) -> torch.Tensor:
    """Unit vectors[answers, D]: the embeddings of the answers (without the end of turn) minus their mean."""
    embeddings = torch.stack([model.answer_embedding(encoder.answer_ids(answer)[:-1]) for answer in answers]).float()
    return F.normalize(embeddings - embeddings.mean(0), dim=-1)


def _by_clip(
    examples: list[Example], answers: dict[tuple[str, str], list[str]], limit: int | None
) -> list[list[Example]]:
    """For each of the first `limit` clips, its questions with a known answer. A clip is encoded once for all of its
    questions."""
    by_clip: dict[str, list[Example]] = {}
    for example in examples:
        if _key(example) in answers and example.answer_in_words in answers[_key(example)]:
            by_clip.setdefault(example.record.id, []).append(example)
    return [*by_clip.values()][:limit]


def _as_it_is(batch: _Batch | None) -> _Batch | None:
    return batch


def _moved(tensors: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in tensors.items()}


class _Stream:
    """The batches of a split in any order, repeatedly. The first that are read stay in memory, up to `room` bytes; if
    the encoder is not trained, its states are kept instead."""

    def __init__(self, clips: _Clips, encode: torch.nn.Module, device: torch.device, cfg: Config, room: float) -> None:
        self.clips, self.encode, self.device, self.cfg = clips, encode, device, cfg
        self.frozen = not any(p.requires_grad for p in encode.parameters())
        self.kept: dict[int, _Batch] = {}
        self.room = room

    def batches(self, order: Iterable[int]) -> Iterator[_Batch]:
        order = list(order)
        missing = [i for i in order if i not in self.kept]
        trainer = self.cfg.trainer
        loader = Prefetching(
            self.clips,
            ahead=trainer.prefetch,
            batch_size=None,
            sampler=missing,
            collate_fn=_as_it_is,
            num_workers=num_workers(trainer, precision.device(trainer).type == "cuda"),
            generator=torch.Generator().manual_seed(self.cfg.seed),  # an iterator draws a number when it is made
        )
        read = iter(loader) if missing else iter(())  # which would start its workers for nothing
        for i in order:
            batch = self.kept[i] if i in self.kept else self._made(i, next(read))
            if batch is not None:
                yield batch

    def _made(self, index: int, batch: _Batch | None) -> _Batch | None:
        if batch is not None and self.frozen:
            with torch.no_grad():
                batch = replace(batch, clips=self.encode(_moved(batch.clips, self.device)).cpu())
        if batch is not None and (size := batch.num_bytes()) <= self.room:
            self.kept[index] = batch
            self.room -= size
        return batch

    def states(self, batch: _Batch) -> torch.Tensor:
        """The encoder's states of a batch."""
        return batch.clips.to(self.device) if self.frozen else self.encode(_moved(batch.clips, self.device))


def _fit(
    modality: str,
    modules: list[torch.nn.Module],
    clips: dict[str, _Clips],
    prototypes: dict[tuple[str, str], torch.Tensor],
    cfg: Config,
    tick: Any,
) -> Aligned:
    config: FinetuningConfig = cfg.finetuning
    encode, project = modules
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    device = parameters[0].device
    train = _Stream(clips["train"], encode, device, cfg, room=KEPT)
    val = _Stream(clips["val"], encode, device, cfg, room=0)
    count = len(clips["train"])
    _train_mode(modules, True)
    if hasattr(encode, "calibrate") and not train.frozen:
        encode.calibrate(_moved(batch.clips, device) for batch in train.batches(range(count)))
    if getattr(project, "standardised", False):
        with torch.no_grad():
            project.calibrate(train.states(batch) for batch in train.batches(range(count)))
    sharpness = torch.nn.Parameter(torch.tensor(SHARPNESS, device=device))
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "weight_decay": 0.1}, {"params": [sharpness], "weight_decay": 0.0}],
        lr=config.alignment_learning_rate,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.alignment_learning_rate, total_steps=config.alignment_epochs * count, pct_start=0.1
    )
    order = torch.Generator().manual_seed(cfg.seed)

    def losses(stream: _Stream, batch: _Batch, smoothing: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy and whether the nearest answer is the right one, [questions] each."""
        tokens = F.normalize(project(stream.states(batch)).float().mean(1), dim=-1)
        loss, hit = [], []
        for row, key, answer in batch.targets:
            logits = sharpness.exp() * prototypes[key] @ tokens[row]
            target = torch.tensor(answer, device=logits.device)
            loss.append(F.cross_entropy(logits, target, label_smoothing=smoothing))
            hit.append(logits.argmax() == target)
        return torch.stack(loss), torch.stack(hit)

    for _ in range(config.alignment_epochs):
        _train_mode(modules, True)
        for batch in train.batches(torch.randperm(count, generator=order).tolist()):
            loss = losses(train, batch, SMOOTHING)[0].mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            tick()
    _train_mode(modules, False)
    with torch.no_grad():
        found = [losses(val, batch, 0.0) for batch in val.batches(range(len(clips["val"])))]
    if not found:
        return Aligned(modality=modality, loss=None, accuracy=None)
    return Aligned(
        modality=modality,
        loss=float(torch.cat([loss for loss, _ in found]).mean()),
        accuracy=float(torch.cat([hit for _, hit in found]).float().mean()),
    )


def _train_mode(modules: list[torch.nn.Module], mode: bool) -> None:
    for module in modules:
        module.train(mode and any(p.requires_grad for p in module.parameters()))
