"""Fits new encoders and projectors alone, before the language model is in the loop.

A soft token of an untrained encoder is noise to the language model, and the gradient that comes back through all its
layers is an expensive teacher: a step through SmolLM2 costs what many steps of a small encoder cost. So new towers are
first asked for the answers directly. The mean of a clip's soft tokens is held against the language model's own
embeddings of the distinct training answers, by cosine, with cross-entropy: afterwards the soft tokens of an angry voice
lie towards the word that will be asked for, where the language model can read them. Only training clips and their
answers are learnt from; the validation split is only measured.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from affect.config import Config, FinetuningConfig
from affect.data import Collate, progress, sampling
from affect.decoded import Source
from affect.encoded import Outputs
from affect.models import Encoder, Model, precision
from affect.prompts import Example

BATCH_SIZE = 16


SHARPNESS = 1.0
"""Start of the logarithm of the factor on the cosines, which is learnt. Together with SMOOTHING it keeps soft tokens
from being more certain on the training clips than they will be on others: on two folds of RAVDESS the held-out loss
stayed near or below chance with both, and rose higher without; accuracy was about the same."""

SMOOTHING = 0.1
"""Share of each target that is spread over all answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """What came of one modality, on the validation split."""

    modality: str
    loss: float | None
    """Mean cross-entropy in nats; None where no validation clip has one of the training answers."""
    accuracy: float | None
    """Share of answers that are nearest to their clip's soft tokens; None like `loss`. Not a result: the readout is not
    the model's."""


@dataclass(slots=True, kw_only=True)
class _Clips:
    tensors: dict[str, Any]
    targets: list[tuple[int, tuple[str, str], int]]
    """(row, (dataset, task), index of the answer among the task's) of every labelled question about the batch's
    clips."""


def align(
    model: Model,
    encoder: Encoder,
    train: list[Example],
    val: list[Example],
    cfg: Config,
    source: Source | None = None,
    outputs: Outputs | None = None,
) -> list[Aligned]:
    """Fits the new towers of `model` in place, each modality by itself. The clips' features are kept in memory
    meanwhile, about a quarter of a megabyte a clip. `source` and `outputs` are those of data.Collate."""
    answers: dict[tuple[str, str], list[str]] = {}
    for example in train:
        known = answers.setdefault(_key(example), [])
        if example.answer not in known:
            known.append(example.answer)
    # With a single answer in the training split there is nothing to tell apart.
    answers = {key: known for key, known in answers.items() if len(known) > 1}
    if not answers:
        return []
    device = precision.device(cfg.trainer)
    model.to(device)
    collate = Collate(encoder, sampling(cfg), False, source, outputs)
    with torch.no_grad():
        prototypes = {key: _prototypes(model, encoder, known) for key, known in answers.items()}
    with progress(cfg.trainer.progress) as bar:
        clips = {
            name: _features(examples, collate, answers, device, bar, name)
            for name, examples in (("train", train), ("val", val))
        }
        aligned = []
        for modality, modules in model.soft_token_modules().items():
            task = bar.add_task(f"aligning {modality}", total=cfg.finetuning.alignment_epochs)
            tick = partial(bar.update, task, advance=1)
            aligned.append(_fit(modality, modules, clips, prototypes, cfg.finetuning, cfg.seed, tick))
    return aligned


def _key(example: Example) -> tuple[str, str]:
    return example.record.dataset, example.task.name


def _prototypes(model: Any, encoder: Encoder, answers: list[str]) -> torch.Tensor:
    """Unit vectors[answers, D]: the answers' embeddings without what they have in common, and without the end of
    turn."""
    embeddings = torch.stack([model.answer_embedding(encoder.answer_ids(answer)[:-1]) for answer in answers]).float()
    return F.normalize(embeddings - embeddings.mean(0), dim=-1)


def _features(
    examples: list[Example],
    collate: Collate,
    answers: dict[tuple[str, str], list[str]],
    device: torch.device,
    bar: Any,
    name: str,
) -> list[_Clips]:
    """Batches of encoded clips: a clip is encoded once, whatever number of questions there are about it."""
    by_clip: dict[str, list[Example]] = {}
    for example in examples:
        if _key(example) in answers and example.answer in answers[_key(example)]:
            by_clip.setdefault(example.record.id, []).append(example)
    made, clips = [], list(by_clip.values())
    task = bar.add_task(f"encoding clips of {name}", total=len(clips))
    for at in range(0, len(clips), BATCH_SIZE):
        chunk = clips[at : at + BATCH_SIZE]
        batch = collate([questions[0] for questions in chunk])
        bar.update(task, advance=len(chunk))
        if batch.tensors is None:
            continue
        rows = {example.record.id: row for row, example in enumerate(batch.examples)}
        targets = [
            (rows[e.record.id], _key(e), answers[_key(e)].index(e.answer))
            for questions in chunk
            for e in questions
            if e.record.id in rows
        ]
        tensors = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.tensors.items()}
        made.append(_Clips(tensors=tensors, targets=targets))
    return made


def _fit(
    modality: str,
    modules: list[torch.nn.Module],
    clips: dict[str, list[_Clips]],
    prototypes: dict[tuple[str, str], torch.Tensor],
    config: FinetuningConfig,
    seed: int,
    tick: Any,
) -> Aligned:
    encode, project = modules
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    if hasattr(encode, "calibrate") and any(p.requires_grad for p in encode.parameters()):
        encode.calibrate([c.tensors for c in clips["train"]])
    sharpness = torch.nn.Parameter(torch.tensor(SHARPNESS, device=parameters[0].device))
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "weight_decay": 0.1}, {"params": [sharpness], "weight_decay": 0.0}],
        lr=config.alignment_learning_rate,
    )
    steps = config.alignment_epochs * len(clips["train"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.alignment_learning_rate, total_steps=steps, pct_start=0.1
    )
    order = torch.Generator().manual_seed(seed)

    def losses(batch: _Clips, smoothing: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy and whether the nearest answer is the right one, [questions] each."""
        tokens = F.normalize(project(encode(batch.tensors)).float().mean(1), dim=-1)
        loss, hit = [], []
        for row, key, answer in batch.targets:
            logits = sharpness.exp() * prototypes[key] @ tokens[row]
            target = torch.tensor(answer, device=logits.device)
            loss.append(F.cross_entropy(logits, target, label_smoothing=smoothing))
            hit.append(logits.argmax() == target)
        return torch.stack(loss), torch.stack(hit)

    for _ in range(config.alignment_epochs):
        _train_mode(modules, True)
        for at in torch.randperm(len(clips["train"]), generator=order).tolist():
            loss = losses(clips["train"][at], SMOOTHING)[0].mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
        tick()
    _train_mode(modules, False)
    if not clips["val"]:
        return Aligned(modality=modality, loss=None, accuracy=None)
    with torch.no_grad():
        found = [losses(batch, 0.0) for batch in clips["val"]]
    return Aligned(
        modality=modality,
        loss=float(torch.cat([loss for loss, _ in found]).mean()),
        accuracy=float(torch.cat([hit for _, hit in found]).float().mean()),
    )


def _train_mode(modules: list[torch.nn.Module], mode: bool) -> None:
    for module in modules:
        module.train(mode and any(p.requires_grad for p in module.parameters()))
