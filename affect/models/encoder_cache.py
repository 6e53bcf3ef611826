"""On-disk cache of frozen-encoder outputs.

A frozen encoder computes the same outputs for a clip in every epoch, run, ablation and evaluation, and takes most of
the time. Clips of similar length are encoded together, as many as in a batch of an evaluation. Which other clips are in
the batch changes the last bits of an output (about 1e-6 of its size in float32); once written, it stays as it is.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig

from affect.config import Config, ConfigError, EncoderCache, ServerConfig
from affect.config.logs import LOG, is_first
from affect.data import Record
from affect.data.clip_cache import DECODING, of_picture
from affect.data.clips import ClipSource
from affect.data.media import SAMPLING_RATE, MediaError, Sampling
from affect.data.progress import progress
from affect.data.tensor_store import GIGABYTE, TensorFiles
from affect.data.workers import ahead
from affect.models import precision
from affect.models.protocol import Conversation, Encoder, Model
from affect.models.sampling import sampling
from affect.models.towers import tower_of
from affect.prompting.messages import Example

VERSION = 5
"""To be raised when a family changes the inputs of its encoders, or which of their outputs are kept."""

PARTS = {"audio": "a", "video": "v"}


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of one model's encoders. It can be handed to other processes."""

    files: TensorFiles
    source: ClipSource
    identities: dict[str, str]
    """By part (audio, video) that is kept, a hash of its encoder and settings."""

    def of(self, records: Sequence[Record]) -> list[dict[str, dict[str, torch.Tensor]]] | None:
        """By record and part; None unless every record has them, since a batch has either outputs or clips."""
        outputs: list[dict[str, dict[str, torch.Tensor]]] = []
        for record in records:
            keys = self.keys(record)
            if keys is None:
                return None
            by_part = {part: self.files.get(key) for part, key in keys.items()}
            if any(tensors is None for tensors in by_part.values()):
                return None
            outputs.append(by_part)
        return outputs

    def keys(self, record: Record) -> dict[str, str] | None:
        """Key by part; None where the record's file has changed."""
        clip = self.source.key(record)
        if clip is None:
            return None
        return {part: json.dumps([identity, *clip]) for part, identity in self.identities.items()}

    def missing(self, record: Record) -> list[str]:
        """The parts that are not in the cache; none where the record's file has changed."""
        keys = self.keys(record) or {}
        return [part for part, key in keys.items() if not self.files.has(key)]

    def beside(self, wanted: Sampling) -> Sampling:
        """What is still to be decoded of a clip whose outputs are in the cache."""
        return replace(
            wanted,
            audio=wanted.audio and "audio" not in self.identities,
            video=wanted.video and "video" not in self.identities,
        )


def prepare(
    model: Model, encoder: Encoder, by_split: Mapping[str, list[Example]], cfg: Config, source: ClipSource
) -> Outputs | None:
    """The outputs of the frozen encoders for all clips of `by_split`, after computing the missing ones; None where
    nothing is cached.

    `model` has the run's fine-tuning applied. Raises ConfigError where trainer.encoder_cache=on and the cache cannot be
    used, DataError where a file is of another model.
    """
    asked = cfg.trainer.encoder_cache
    parts = [part for part, letter in PARTS.items() if letter in cfg.modalities]
    if asked is EncoderCache.off or not parts or isinstance(cfg.model, ServerConfig):
        return None
    encoders, reasons = model.encoders(), {}
    for part in parts:
        if part not in encoders:
            reasons[part] = f"the {part} encoder of model={cfg.model.name} is new and has to be trained"
        elif trained := _trained(model, encoders[part]):
            reasons[part] = f"finetuning.{trained}={getattr(cfg.finetuning, trained).value} changes its outputs"
    if asked is EncoderCache.on and reasons:
        why = "; ".join(reasons.values())
        raise ConfigError(
            f"trainer.encoder_cache=on, but {why}: set trainer.encoder_cache=auto, or freeze what is trained"
        )
    if asked is EncoderCache.auto and cfg.trainer.max_batches is not None:
        return None
    if is_first():
        # New encoders are trained anyway, which needs no message.
        for part in set(reasons) & set(encoders):
            LOG.info(f"encoder cache: {reasons[part]}, so the {part} encoder computes every clip each time")
    encoders = {part: encoders[part] for part in parts if part not in reasons}
    if not encoders:
        return None
    limit = int(cfg.trainer.encoder_cache_gb * GIGABYTE)
    folder = Path(cfg.cache_root).expanduser() / "encoders"
    loss = "the encoders compute further clips each time they are used (trainer.encoder_cache_gb)"
    identities = {part: _identity(part, module, encoder, cfg) for part, module in encoders.items()}
    outputs = Outputs(TensorFiles(folder, limit, LOG.warning, loss), source, identities)
    records = _distinct(by_split, outputs)
    # Looking a file up also marks it as used by this run.
    missing = [record for record, _ in records if outputs.missing(record)]
    if missing and not _fill(outputs, missing, len(records), model, encoder, cfg):
        return None
    if is_first() and not missing:
        LOG.info(
            f"encoder cache: the outputs of the {_names(encoders)} encoder for {len(records)} clips are in {folder}"
        )
    return outputs


def _names(parts: Mapping[str, Any]) -> str:
    return " and ".join(parts)


def _trained(model: Model, module: nn.Module) -> str | None:
    """The tower of a parameter in `module` that is trained; None where all are frozen."""
    parameters = {id(parameter) for parameter in module.parameters()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) in parameters:
            return tower_of(name, model.towers)
    return None


def _identity(part: str, module: nn.Module, encoder: Encoder, cfg: Config) -> str:
    """A hash of everything that the outputs of a part depend on beside the clip."""
    wanted = sampling(cfg)
    taken = [SAMPLING_RATE] if part == "audio" else of_picture(wanted)
    kind = precision.dtype(precision.settled(cfg.model, cfg.trainer))
    what = [VERSION, part, encoder.settings(part), taken, _weights_hash(module), str(kind)]
    # Kernels differ in the last bits, and a library may change what it computes.
    versions = [*DECODING, torch.__version__, transformers.__version__]
    device, kernels = precision.device(cfg.trainer).type, precision.attention(cfg.model)
    how = [device, kernels, versions, type(module).__qualname__, _configs(module)]
    return hashlib.sha256(json.dumps([what, how]).encode()).hexdigest()


def _configs(module: nn.Module) -> list[str]:
    """The configurations of a module and of its submodules, which hold activations and the like."""
    configs = (part.config for part in module.modules() if isinstance(getattr(part, "config", None), PreTrainedConfig))
    return sorted({config.to_json_string() for config in configs})  # without the path it was loaded from


def _weights_hash(module: nn.Module) -> str:
    """sha256 of names, types, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _distinct(by_split: Mapping[str, list[Example]], outputs: Outputs) -> list[tuple[Record, dict[str, str]]]:
    """One record for each clip of the examples, with its keys. A clip that can no longer be read fails in its batch."""
    distinct: dict[tuple[str, ...], tuple[Record, dict[str, str]]] = {}
    for examples in by_split.values():
        for example in examples:
            keys = outputs.keys(example.record)
            if keys is not None:
                distinct.setdefault(tuple(keys.values()), (example.record, keys))
    return list(distinct.values())


@dataclass(frozen=True, slots=True)
class _Group:
    """Clips that go through the encoders together."""

    records: list[Record]
    parts: list[str]
    """The parts that are encoded."""


def _groups(missing: list[Record], outputs: Outputs, size: int) -> list[list[_Group]]:
    """Groups of up to `size` clips of similar length, so that little is padded: for each set of missing parts a list of
    groups, the shortest clips first. The groups depend on the clips alone."""
    by_parts: dict[tuple[str, ...], list[Record]] = {}
    for record in sorted(missing, key=lambda record: (outputs.source.seconds.get(record.id, 0.0), record.id)):
        by_parts.setdefault(tuple(outputs.missing(record)), []).append(record)
    by_parts.pop((), None)  # another process has computed them
    return [
        [_Group(alike[at : at + size], list(parts)) for at in range(0, len(alike), size)]
        for parts, alike in by_parts.items()
    ]


@dataclass(frozen=True, slots=True)
class _Computed:
    """The outputs of a group, by part, for those of its records that could be read."""

    records: list[Record]
    outputs: list[dict[str, dict[str, torch.Tensor]]]


def _total_bytes(alike: list[_Group], ends: list[_Computed], outputs: Outputs) -> float:
    """Estimated size of the missing files of all groups, from the first and the last group (`ends`). Sizes are taken to
    be linear in the seconds of a clip: sound has a fixed number of tokens a second, and frames a fixed number."""

    def seconds(records: list[Record]) -> float:
        return sum(outputs.source.seconds.get(record.id, 0.0) for record in records) / len(records)

    def size(end: _Computed) -> int:
        pairs = [(outputs.keys(record), by_part) for record, by_part in zip(end.records, end.outputs, strict=True)]
        return sum(
            len(outputs.files.content(keys[part], tensors))
            for keys, by_part in pairs
            if keys is not None
            for part, tensors in by_part.items()
        )

    sizes = [(seconds(end.records), size(end) / len(end.records)) for end in ends]
    records = [record for group in alike for record in group.records if outputs.missing(record)]
    if not sizes or not records:
        return 0.0  # no clip of the ends could be read: the room is checked again as files are written
    (short, least), (long, most) = sizes[0], sizes[-1]
    slope = (most - least) / (long - short) if long > short else 0.0
    return len(records) * (least + slope * (seconds(records) - short))


def _fill(outputs: Outputs, missing: list[Record], count: int, model: Model, encoder: Encoder, cfg: Config) -> bool:
    """Computes the missing outputs; False where there is no room for all of them."""
    groups = _groups(missing, outputs, cfg.evaluation.batch_size)
    if not groups:
        return True  # another process has computed them
    device = precision.device(cfg.trainer)
    model.eval().to(device)
    # On a CPU the encoders themselves use all cores, and more threads would slow them down.
    num_threads = 1 if device.type == "cpu" else cfg.trainer.check_workers

    def computed(some: list[_Group], also_there: bool = False) -> Iterator[_Computed]:
        for records, features in _features(some, outputs, encoder, sampling(cfg), num_threads, also_there):
            yield _Computed(records, _compute(features, model, device, cfg))

    # The shortest and the longest clips tell how large all files will be, before any is written. The room is looked up
    # before that size, since files that another process writes in between are no longer needed.
    ends = [[*computed(alike[:1] + alike[1:][-1:], also_there=True)] for alike in groups]
    room = outputs.files.room()
    total = sum(_total_bytes(alike, own, outputs) for alike, own in zip(groups, ends, strict=True))
    there = f", {count - len(missing)} are there" if count > len(missing) else ""
    if total > room:
        sentence = (
            f"the encoder cache would need {_amount(total)} for {len(missing)} clips, and there is room for"
            f" {_amount(room)} in {outputs.files.folder}: raise trainer.encoder_cache_gb"
            f" (={cfg.trainer.encoder_cache_gb:g}), make room on the disk, or name another folder, cache_root=…"
        )
        return _refuse(sentence, cfg)
    if is_first():
        LOG.info(
            f"encoder cache: the outputs of the {_names(outputs.identities)} encoder for {len(missing)} of {count}"
            f" clips are computed once{there}, {_amount(total)} in {outputs.files.folder}"
        )
    ready = [group for own in ends for group in own]
    del ends
    rest = [group for alike in groups for group in alike[1:-1]]
    # In a random order, so that processes that fill the cache together seldom compute the same clips.
    random.Random().shuffle(rest)
    with progress(cfg.trainer.progress and is_first()) as bar, ThreadPoolExecutor(1) as writer:
        task = bar.add_task("encoding clips", total=len(missing))
        # Written while the next ones are computed, and no more than one group behind.
        written = writer.submit(lambda: None)
        for group in chain((ready.pop() for _ in range(len(ready))), computed(rest)):
            written.result()
            if outputs.files.closed:
                break
            written = writer.submit(_keep, outputs, group)
            bar.update(task, advance=len(group.records))
        written.result()
    if outputs.files.closed:
        return _refuse(
            f"the encoder cache cannot be filled: raise trainer.encoder_cache_gb (={cfg.trainer.encoder_cache_gb:g}),"
            f" make room in {outputs.files.folder}, or name another folder, cache_root=…",
            cfg,
        )
    return True


def _amount(num_bytes: float) -> str:
    unit, size = next((u, s) for u, s in (("GB", GIGABYTE), ("MB", 1e6), ("kB", 1e3)) if num_bytes >= s or s == 1e3)
    return f"{num_bytes / size:.1f} {unit}"


def _refuse(sentence: str, cfg: Config) -> bool:
    if cfg.trainer.encoder_cache is EncoderCache.on:
        raise ConfigError(f"{sentence}; or set trainer.encoder_cache=auto")
    if is_first():
        LOG.info(f"{sentence}. The encoders compute every clip each time")
    return False


def _features(
    groups: list[_Group],
    outputs: Outputs,
    encoder: Encoder,
    wanted: Sampling,
    num_threads: int,
    also_there: bool,
) -> Iterator[tuple[list[Record], dict[str, Any]]]:
    """Inputs of the encoders, a group at a time, some of them prepared ahead. Without `also_there`, clips are left out
    that another process has computed in the meantime."""

    def one(group: _Group) -> tuple[list[Record], dict[str, Any]] | None:
        asked = replace(wanted, audio="audio" in group.parts, video="video" in group.parts)
        records, conversations = [], []
        for record in group.records:
            if not also_there and not outputs.missing(record):
                continue
            try:
                clip = outputs.source.clip(record, asked)
            except MediaError:  # reported when its batch fails
                continue
            records.append(record)
            conversations.append(
                Conversation(
                    messages=[],
                    waveform=clip.waveform,
                    frames=clip.frames,
                    seconds=clip.seconds,
                    picked=clip.picked,
                )
            )
        return (records, encoder.features(conversations)) if records else None

    for _, features in ahead(one, groups, num_threads):
        if features is not None:
            yield features


@torch.no_grad()
def _compute(
    features: dict[str, Any], model: Model, device: torch.device, cfg: Config
) -> list[dict[str, dict[str, torch.Tensor]]]:
    """By clip and part, the outputs of the encoders."""
    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in features.items()}
    kind = precision.dtype(precision.settled(cfg.model, cfg.trainer))
    # As in the Trainer, which uses mixed precision where the weights are not float32.
    mixed = nullcontext() if kind is torch.float32 else torch.autocast(device.type, kind)
    with mixed:
        return model.encoder_outputs(moved)


def _keep(outputs: Outputs, group: _Computed) -> None:
    for record, by_part in zip(group.records, group.outputs, strict=True):
        keys = outputs.keys(record)
        for part, tensors in by_part.items():
            # A file that another process has written in the meantime stays: it may have been read already.
            if keys is not None and not outputs.files.has(keys[part]):
                outputs.files.put(keys[part], tensors)
