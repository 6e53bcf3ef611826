"""The source `mllm`: zero-shot descriptions by a multimodal language model (the method of arXiv 2508.02429).

A generator is any pretrained model of the framework, or the fine-tuned model of a run. It describes the audio, the
video or both together of every clip, each with its own instruction (instructions.py). The texts of several generators
about the same clip follow each other, a line each.

The fingerprint holds the hashes of the checkpoint's files, which are remembered (clip_checks.content_hashes), so a run
that finds all descriptions in the store loads no generator.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from affect import models
from affect.config import DESCRIPTIONS, Config, ConfigError, DataError
from affect.config.fields import Phase
from affect.config.model import spell
from affect.config.roles import keys_of
from affect.data import Record
from affect.data.clip_parts import clips
from affect.data.file_hashes import content_hashes
from affect.data.media import Clip
from affect.data.part import Part
from affect.knowledge.protocol import Description, Failure
from affect.knowledge.sources import checkpoints, instructions
from affect.knowledge.sources.generators import Generator, generators
from affect.knowledge.sources.instructions import request
from affect.models import NOT_FINITE, Conversation, Encoder, Unanswered, precision
from affect.models.checkpoint import restore
from affect.prompting import thoughts

VERSION = 2
"""Raise it when a change of this module, or of its decoding and prompts, changes the texts. Stored descriptions are
then those of another generator."""

WINDOW = 4
"""Batches among which clips of similar length are grouped. Two windows are in memory at a time, one being described and
one being decoded: about 400 MB for batches of 16 clips of 30 s."""

Decoded = list[tuple[Record, dict[str, Clip | str]]]
"""Records with, by modality, the clip or the reason why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The text of one generator about one modality of one clip."""

    text: str
    tokens: int
    seconds: float


def load(cfg: Config, parts: Sequence[Part]) -> "Mllm":
    """The source of this configuration; no model is loaded yet.

    Raises ConfigError where no wanted modality can be described, an encoder would be untrained, wording is missing, or
    a checkpoint or run is not available; DataError where a file of it cannot be read.
    """
    languages = {record.language for part in parts for record in part.records}
    knowledge = cfg.knowledge
    chosen = generators(cfg)
    described = [m for m in knowledge.modalities if any(m in generator.modalities for generator in chosen)]
    if not described:
        takes = "; ".join(f"{g.config.name} takes {spell(g.config.modalities)}" for g in chosen)
        raise ConfigError(
            f"knowledge.modalities={','.join(knowledge.modalities)}, but {takes}: choose a model that takes them,"
            " model@knowledge.mllm_models.main=…"
        )
    instructions.check(knowledge, described, languages)
    return Mllm(cfg, chosen, tuple(described))


class Mllm:
    """See affect.knowledge.Describer."""

    def __init__(self, cfg: Config, generators: list[Generator], modalities: tuple[str, ...]) -> None:
        self.modalities = modalities
        self.generators = generators
        self.knowledge = cfg.knowledge
        self.cache_root = Path(cfg.cache_root).expanduser()
        self.decoding_threads = cfg.trainer.check_workers
        self.device = precision.device(cfg.trainer)
        self.settings: dict[str, Any] = {
            "source": "mllm",
            "version": VERSION,
            "generators": [self._identity(generator) for generator in generators],
            **instructions.fingerprinted(cfg.knowledge),
        }
        """The fingerprint is the hash of these."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        # With 16 hexadecimal digits two of a thousand generators collide once in 10^13.
        self.fingerprint = f"mllm-{'+'.join(generator.config.name for generator in generators)}-{digest[:16]}"

    def _identity(self, generator: Generator) -> dict[str, Any]:
        """Everything that changes the generator's texts, beside wording and decoding."""
        if generator.run is None:
            return checkpoints.identity(generator.config, self.cache_root)
        from affect.models.checkpoint import BEST

        path = generator.run / BEST
        if not path.is_file():  # checked first, since an evaluation of a server has no model either
            raise ConfigError(
                f"knowledge.mllm_run={generator.run} has no {BEST}: its training stopped before its first"
                " validation; name another run"
            )
        identity = checkpoints.identity(generator.config, self.cache_root)
        assert generator.finetuning is not None
        identity["adapter"] = content_hashes([str(path)], self.cache_root)[str(path)]
        # What decides into which model the adapter is loaded; a key that is null came after descriptions were made.
        finetuning = {f"finetuning.{key}": value for key, value in asdict(generator.finetuning).items()}
        identity["finetuning"] = {
            key.removeprefix("finetuning."): value
            for key in keys_of(Phase.model)
            if (value := finetuning.get(key)) is not None
        }
        identity["modalities"] = generator.trained
        return identity

    def request(self, record: Record, modality: str) -> str:
        """See affect.knowledge.Describer."""
        return request(instructions.messages(record, modality, self.knowledge))

    def describe(self, records: Sequence[Record], hashes: Mapping[str, str]) -> Iterator[Description | Failure]:
        """See affect.knowledge.Describer. Within WINDOW batches clips of similar length are grouped; otherwise the
        order is that of `records`."""
        last = {m: [g for g in self.generators if m in g.modalities][-1].name for m in self.modalities}
        loaded = {generator.name: self._load(generator) for generator in self.generators if generator.modalities}
        outcomes: dict[tuple[str, str], list[Answer | str]] = {}
        for generator, decoded in self._decoded(records):
            model, encoder = loaded[generator.name]
            for modality in generator.modalities:
                for record, outcome in self._described(model, encoder, generator, modality, decoded, hashes):
                    outcomes.setdefault((record.id, modality), []).append(outcome)
                    if last[modality] == generator.name:
                        yield self._joined(record, modality, outcomes.pop((record.id, modality)), hashes)

    def _load(self, generator: Generator) -> tuple[Any, Encoder]:
        letters = {letter for modality in generator.modalities for letter in DESCRIPTIONS[modality]}
        # Loading must not change the random weights of a training that follows.
        with torch.random.fork_rng(devices=[]):  # loading is done on the CPU
            model, encoder = models.load(
                generator.config,
                modalities="".join(m for m in "tav" if m in letters or m in generator.trained),
                cache_root=self.cache_root,
            )
            if generator.run is not None:
                assert generator.finetuning is not None
                restore(model, generator.finetuning, generator.run)
        return model.eval().requires_grad_(False).to(self.device), encoder

    def _decoded(self, records: Sequence[Record]) -> Iterator[tuple[Generator, Decoded]]:
        """The clips of each window of records for each generator, decoded one step ahead."""
        size = WINDOW * self.knowledge.mllm_batch_size
        steps = (
            (generator, records[at : at + size])
            for at in range(0, len(records), size)
            for generator in self.generators
            if generator.modalities
        )
        pool = ThreadPoolExecutor(max(1, self.decoding_threads))
        try:
            ahead: deque[tuple[Generator, list[tuple[Record, Future[dict[str, Clip | str]]]]]] = deque()
            for generator, window in steps:
                decoding = partial(
                    clips,
                    modalities=generator.modalities,
                    num_frames=generator.config.num_frames,
                    frame_size=generator.config.frame_size,
                    max_seconds=generator.config.max_seconds,
                    limit=f"knowledge.mllm_models.{generator.name}.max_seconds",
                )
                ahead.append((generator, [(record, pool.submit(decoding, record)) for record in window]))
                if len(ahead) > 1:
                    yield _ready(*ahead.popleft())
            while ahead:
                yield _ready(*ahead.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _described(
        self,
        model: Any,
        encoder: Encoder,
        generator: Generator,
        modality: str,
        decoded: Decoded,
        hashes: Mapping[str, str],
    ) -> Iterator[tuple[Record, Answer | str]]:
        """The text of `generator` about `modality` of each clip, or the reason why there is none."""
        usable: list[tuple[Record, Clip]] = []
        for record, by_modality in decoded:
            clip = by_modality[modality]
            if isinstance(clip, str):
                yield record, clip
            else:
                usable.append((record, clip))
        # Longest first, so that too large a batch fails at once.
        shown = self.knowledge.show_transcript
        usable.sort(key=lambda pair: (-pair[1].seconds, -len(pair[0].text) if shown else 0, pair[0].id))
        size = self.knowledge.mllm_batch_size
        for at in range(0, len(usable), size):
            batch = usable[at : at + size]
            begin = time.perf_counter()
            outcomes = self._say(model, encoder, generator, modality, batch, hashes)
            seconds = (time.perf_counter() - begin) / len(batch)
            for (record, _), outcome in zip(batch, outcomes, strict=True):
                yield record, replace(outcome, seconds=seconds) if isinstance(outcome, Answer) else outcome

    def _say(
        self,
        model: Any,
        encoder: Encoder,
        generator: Generator,
        modality: str,
        batch: list[tuple[Record, Clip]],
        hashes: Mapping[str, str],
    ) -> list[Answer | str]:
        letters = DESCRIPTIONS[modality]
        conversations = [
            Conversation(
                messages=instructions.messages(record, modality, self.knowledge),
                waveform=clip.waveform if "a" in letters else None,
                frames=clip.frames if "v" in letters else None,
                seconds=clip.seconds,
            )
            for record, clip in batch
        ]
        try:
            tensors = encoder.encode(conversations)
        except DataError as error:
            if len(batch) == 1:
                return [f"{batch[0][0].media}: {generator.config.name} cannot take this clip ({error})"]
            # The other clips of the batch are described all the same.
            alone = [self._say(model, encoder, generator, modality, [pair], hashes) for pair in batch]
            return [outcome for outcomes in alone for outcome in outcomes]
        tensors = {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in tensors.items()}
        limit, temperature = self.knowledge.max_new_tokens, self.knowledge.temperature
        number = precision.dtype(generator.config)
        # As Lightning does in training and evaluation: features are float32, weights may not be.
        with torch.autocast(self.device.type, number, enabled=number is not torch.float32):
            if temperature > 0:
                seeds = [_seed(self.knowledge.sampling_seed, hashes[record.id], modality) for record, _ in batch]
                answers = sample(model, tensors, limit, temperature, seeds)
            else:
                answers = model.generate(tensors, limit)
        outcomes: list[Answer | str] = []
        for (record, _), ids in zip(batch, answers, strict=True):
            if isinstance(ids, Unanswered):
                outcomes.append(
                    f"{record.media}: {generator.config.name} has no description of it ({modality}): {ids.reason}"
                )
                continue
            within = thoughts.ends_within(encoder.render(instructions.messages(record, modality, self.knowledge)))
            text = thoughts.without(encoder.decode(ids), within)
            if text is None:
                outcomes.append(
                    f"{record.media}: the answer of {generator.config.name} ended within its thoughts ({modality}):"
                    " raise knowledge.max_new_tokens, or choose a model that does not think"
                )
            elif text := text.strip():
                outcomes.append(Answer(text=text, tokens=len(ids), seconds=0.0))
            else:
                key = f"knowledge.instruction_{modality}.{record.language}"
                outcomes.append(
                    f"{record.media}: the answer of {generator.config.name} is empty ({modality}): change {key}, or"
                    " choose another model"
                )
        return outcomes

    def _joined(
        self, record: Record, modality: str, outcomes: list[Answer | str], hashes: Mapping[str, str]
    ) -> Description | Failure:
        """The texts of all generators; a Failure where one of them has none."""
        for outcome in outcomes:
            if isinstance(outcome, str):
                return Failure(id=record.id, modality=modality, reason=outcome)
        answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
        text, tokens = "\n".join(answer.text for answer in answers), sum(answer.tokens for answer in answers)
        seconds = sum(answer.seconds for answer in answers)
        return Description.now(self, record, modality, hashes[record.id], text, tokens=tokens, seconds=seconds)


def _ready(
    generator: Generator, futures: list[tuple[Record, Future[dict[str, Clip | str]]]]
) -> tuple[Generator, Decoded]:
    return generator, [(record, future.result()) for record, future in futures]


def _seed(seed: int, sha256: str, modality: str) -> int:
    """The seed of a clip's draws, below 2^63, which does not depend on its batch."""
    return int.from_bytes(hashlib.sha256(f"{seed} {sha256} {modality}".encode()).digest()[:8], "big") >> 1


@torch.no_grad()
def sample(
    model: Any, batch: dict[str, Any], max_new_tokens: int, temperature: float, seeds: list[int]
) -> list[list[int] | Unanswered]:
    """Tokens drawn from softmax(logits / temperature) for every prompt of `batch`, without the end of turn; Unanswered
    where the probabilities are not finite. Row i draws from its own stream, seeded with seeds[i]."""
    prefix = model.prefill(batch)
    streams = [torch.Generator().manual_seed(seed) for seed in seeds]
    answers: list[list[int]] = [[] for _ in seeds]
    going, broken = [True] * len(seeds), [False] * len(seeds)
    for step in range(max_new_tokens):
        probabilities = (prefix.logits.float() / temperature).softmax(-1).cpu()
        for i, sound in enumerate(probabilities.isfinite().all(-1).tolist()):
            if not sound:
                broken[i], going[i] = broken[i] or going[i], False
                probabilities[i] = 1.0  # the row stays in the batch; its draws are ignored
        # On the CPU, so that a seed gives the same draws on every device.
        drawn = [
            int(torch.multinomial(row, 1, generator=stream)) for row, stream in zip(probabilities, streams, strict=True)
        ]
        for i, token in enumerate(drawn):
            going[i] = going[i] and token not in model.stops
            if going[i]:
                answers[i].append(token)
        if not any(going) or step == max_new_tokens - 1:
            break
        chosen = torch.tensor(drawn, device=prefix.logits.device)
        logits = model.extend(prefix, chosen[:, None])[:, -1]
        prefix = replace(prefix, logits=logits, attention_mask=prefix.mask_with(1), position=prefix.position + 1)
    return [Unanswered(NOT_FINITE) if bad else ids for ids, bad in zip(answers, broken, strict=True)]
