"""Contextual calibration: subtracts the scores of a content-free prompt (Zhao et al., Calibrate Before Use: Improving
Few-Shot Performance of Language Models, ICML 2021, arXiv 2102.09690).

In a content-free prompt the clip's transcript, context and descriptions are replaced by one of CONTENT_FREE, its audio
by silence and its video by grey frames. Few-shot examples stay. The label probabilities of all content-free prompts are
averaged, as in the paper.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from affect.data.media import Picked, Sampling
from affect.models import Conversation, Encoder
from affect.prompting.messages import Example

SECONDS = 1.0
"""Duration of the silence."""

RATE, SIDE = 25.0, 224
"""Frames a second of the grey video, and its height and width in pixels, where the model's processor chooses frames."""

Scores = Callable[[dict[str, Any]], torch.Tensor]
"""A batch of prompts to log-likelihoods[B, K] of the K labels in nats."""


class ContentFree:
    """Cache of a model's answers to content-free prompts. Without few-shot examples they are the same for all clips of
    a task. The model must not be trained while the cache is used."""

    def __init__(self, wanted: Sampling) -> None:
        """wanted: how clips are sampled. The grey video has as many frames, of the largest size; where the model's own
        processor chooses frames, they are chosen from a video of RATE frames a second and SIDE x SIDE pixels."""
        count, side, self.picked = wanted.num_frames, wanted.frame_size, None
        if wanted.own is not None:
            total = round(SECONDS * RATE)
            self.picked = Picked(indices=tuple(wanted.own.indices(total, RATE)), total=total, rate=RATE)
            count, side = len(self.picked.indices), SIDE
        self.grey = np.full((count, side, side, 3), 127, dtype=np.uint8)
        self.known: dict[tuple[str, str, str], torch.Tensor] = {}
        """Log-probabilities[K], normalised over the labels, in the task's order, by (dataset.task, language, rendered
        prompt)."""
        self.labels: dict[str, list[str]] = {}
        """By dataset.task."""

    def log_priors(self, examples: list[Example], encoder: Encoder, scores: Scores, device: Any) -> torch.Tensor:
        """log p(label | content-free prompt)[B, K] in nats for a batch of examples of one task."""
        task, language = examples[0].task, examples[0].language
        name = f"{examples[0].record.dataset}.{task.name}"
        self.labels[name] = list(task.labels)
        keys = [[(name, language, encoder.render(m)) for m in example.content_free] for example in examples]
        assert all(keys), "the examples were made without their prompts without content"
        lacking = {
            # With letters or numbers, scores are in the order in which the prompt lists the labels.
            key: (messages, [example.answered.labels.index(label) for label in task.labels])
            for own, example in zip(keys, examples, strict=True)
            for key, messages in zip(own, example.content_free, strict=True)
            if key not in self.known
        }
        for at in range(0, len(lacking), len(examples)):
            some = dict(list(lacking.items())[at : at + len(examples)])
            silent = [self._conversation(messages, encoder.sampling_rate) for messages, _ in some.values()]
            # As other batches are made, outside of what the trainer computes in bfloat16.
            with torch.autocast("cpu", enabled=False):
                batch = encoder.encode(silent)
            moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
            rows = scores(moved).double().log_softmax(-1).cpu()
            self.known |= {key: row[order] for (key, (_, order)), row in zip(some.items(), rows, strict=True)}
        return torch.stack([_mean(torch.stack([self.known[key] for key in own])) for own in keys])

    def _conversation(self, messages: list[dict], sampling_rate: int) -> Conversation:
        kinds = {part["type"] for message in messages for part in message["content"]}
        return Conversation(
            messages=messages,
            waveform=np.zeros(round(SECONDS * sampling_rate), dtype=np.float32) if "audio" in kinds else None,
            frames=self.grey if "video" in kinds else None,
            seconds=SECONDS,
            picked=self.picked if "video" in kinds else None,
        )

    def table(self) -> dict[str, dict[str, float]]:
        """By dataset.task, the mean probability of every label over the content-free prompts with finite scores; a task
        without any is left out."""
        found: dict[str, dict[str, float]] = {}
        for name, labels in self.labels.items():
            if rows := [row for key, row in self.known.items() if key[0] == name and row.isfinite().all()]:
                found[name] = dict(zip(labels, _mean(torch.stack(rows)).exp().tolist(), strict=True))
        return found


def _mean(rows: torch.Tensor) -> torch.Tensor:
    """Logarithm[K] of the mean of probabilities, given their logarithms[N, K]."""
    return rows.logsumexp(0) - torch.tensor(float(len(rows)), dtype=rows.dtype).log()
