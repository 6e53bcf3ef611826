"""Predictions of a batch of prompts: by scoring labels, generating text, constrained generation, or a head."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch

from affect.config import Calibration, EvaluationConfig, IntensityReadout, Kind, Readout, Task
from affect.data import Prediction
from affect.evaluation import parsing
from affect.evaluation.content_free import ContentFree
from affect.evaluation.option_marks import in_words
from affect.models import NOT_FINITE, Encoder, Model, Unanswered, heads
from affect.models.generation import Branches, Prefix
from affect.models.predictions import failed, of_output, prediction_of
from affect.prompting import messages, thoughts
from affect.prompting.messages import Example


@torch.no_grad()
def score(model: Model, batch: dict[str, Any], candidates: list[list[int]]) -> torch.Tensor:
    """log p(candidate | prompt) in nats, [B, K] float32: the sum over the tokens of each candidate, end of turn
    included.

    The prompts are run once, and all candidates continue from the same keys and values: with the prompts, each in its
    row, where the model can be told what every token sees, and after them elsewhere. The first token of a candidate is
    scored by the prompts' own last position, so a candidate of n tokens costs n - 1 further positions.
    """
    longer = [k for k, tokens in enumerate(candidates) if len(tokens) > 1]
    if longer and model.takes_branches:
        first, rest = _with_the_prompts(model, batch, [candidates[k] for k in longer])
    else:
        prefix = model.prefill(batch)
        first = prefix.logits.float().log_softmax(-1)
        rest = _after_the_prompts(model, prefix, [candidates[k] for k in longer]) if longer else None
    scores = first[:, torch.tensor([tokens[0] for tokens in candidates], device=first.device)]
    if rest is not None:
        scores[:, longer] += rest
    return scores


def _with_the_prompts(
    model: Model, batch: dict[str, Any], longer: list[list[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p [B, V] of the first token, and [B, K] of the other tokens of each candidate."""
    device = batch["input_ids"].device
    given, wanted = (
        torch.tensor([token for tokens in longer for token in tokens[part]], device=device)
        for part in (slice(None, -1), slice(1, None))
    )
    lengths = [len(tokens) - 1 for tokens in longer]
    scored = model.branch(batch, given, Branches.of(lengths, device)).float().log_softmax(-1)
    rest = scored[:, 1:].gather(2, wanted.expand(len(scored), -1)[..., None])[..., 0]
    return scored[:, 0], torch.stack([own.sum(-1) for own in rest.split(lengths, 1)], 1)


def _after_the_prompts(model: Model, prefix: Prefix, longer: list[list[int]]) -> torch.Tensor:
    """log p [B, K] of all tokens of each candidate but the first, every candidate in a row of its own with a copy of
    the prompt's keys and values."""
    num_prompts, device = prefix.logits.shape[0], prefix.logits.device
    width = max(map(len, longer)) - 1
    given = torch.zeros((len(longer), width), dtype=torch.long, device=device)
    wanted = torch.full((len(longer), width), -100, device=device)
    for row, ids in enumerate(longer):
        tokens = torch.tensor(ids, device=device)
        given[row, : len(tokens) - 1] = tokens[:-1]
        wanted[row, : len(tokens) - 1] = tokens[1:]
    rows = torch.arange(num_prompts, device=device).repeat_interleave(len(longer))
    logits = model.extend(prefix.select(rows), given.repeat(num_prompts, 1)).float()
    wanted = wanted.repeat(num_prompts, 1)
    # Over the last axis, and not by cross_entropy, which wants the vocabulary in the middle: there the sum over 49,000
    # words is taken without care in float32, and every token's score is off by a ten-thousandth.
    scored = logits.log_softmax(-1).gather(2, wanted.clamp(min=0)[..., None])[..., 0]
    # Tokens after a candidate's end are padding: they follow it, so nothing before them sees them, and they are not
    # counted.
    return scored.masked_fill(wanted == -100, 0.0).sum(-1).view(num_prompts, len(longer))


@torch.no_grad()
def constrained(model: Model, batch: dict[str, Any], candidates: list[list[int]]) -> list[int | None]:
    """For each of B prompts, the index of the candidate that greedy generation writes when it may choose, at every
    position, only among the tokens with which a candidate goes on; the end of turn is one of them. None where one of
    the logits it had to choose by is not finite.

    Unlike `score` it never takes back a first token whose continuations turn out badly, and a long label does not pay
    for its length. It ends as soon as a single candidate is left.
    """
    assert len(set(map(tuple, candidates))) == len(candidates), "two candidates are written alike"
    prefix = model.prefill(batch)
    logits = prefix.logits
    left = [list(range(len(candidates))) for _ in logits]
    broken = [False] * len(left)
    step = 0
    while True:
        chosen = []
        for i, row in enumerate(logits.float()):
            if len(left[i]) == 1:
                chosen.append(candidates[left[i][0]][0])  # decided: it runs along, whatever it is given
                continue
            allowed = sorted({candidates[k][step] for k in left[i]})
            broken[i] = broken[i] or not bool(row[allowed].isfinite().all())
            chosen.append(allowed[int(row[allowed].argmax())])
            left[i] = [k for k in left[i] if candidates[k][step] == chosen[i]]
        step += 1
        if all(len(rest) == 1 for rest in left):
            return [None if bad else rest[0] for rest, bad in zip(left, broken, strict=True)]
        tokens = torch.tensor(chosen, device=logits.device)[:, None]
        logits = model.extend(prefix, tokens)[:, -1]
        prefix = replace(prefix, logits=logits, attention_mask=prefix.mask_with(1), position=prefix.position + 1)


@torch.no_grad()
def predict(
    model: Model,
    encoder: Encoder,
    batch: dict[str, Any],
    examples: list[Example],
    config: EvaluationConfig,
    log_priors: Mapping[str, Mapping[str, float]] | None = None,
    content_free: ContentFree | None = None,
) -> list[Prediction]:
    """The predictions for a batch of examples of one task, which is what `batch` was encoded from. `log_priors`, by
    task (`meld.emotion`) and label, are what config.logit_adjustment needs; `content_free` is what config.calibration
    needs."""
    task, language = examples[0].task, examples[0].language
    assert all(e.task is task and e.language == language for e in examples), "a batch is read for one task at a time"
    how = (config.intensity_readout if task.kind is Kind.intensity else config.readout).value
    if how == Readout.score.value and task.kind is Kind.multi_label:
        how = Readout.generate.value  # of many combinations the likelihoods say little
    if how == Readout.generate.value:
        answered = zip(examples, model.generate(batch, config.max_new_tokens), strict=True)
        return [
            failed(e, "generate", ids.reason)
            if isinstance(ids, Unanswered)
            else _generated(e, encoder.decode(ids), _opens_thoughts(e, encoder))
            for e, ids in answered
        ]
    if how == Readout.head.value:
        found = heads.outputs(model, batch, task).cpu()
        return [of_output(e, row) for e, row in zip(examples, found, strict=True)]
    # The candidates are the same for all prompts of a batch. What a letter stands for is not.
    values = possible(task)
    values_by_example = [values if e.marked is None else possible(e.marked) for e in examples]
    texts = [examples[0].marker + examples[0].answered.answer(value, language) for value in values_by_example[0]]
    candidates = [encoder.answer_ids(text) for text in texts]
    if how == Readout.constrained.value:
        return [
            failed(e, "constrained", NOT_FINITE)
            if k is None
            else prediction_of(e, answer=texts[k], exact=own[k], lenient=own[k], outcome="valid", readout="constrained")
            for e, own, k in zip(examples, values_by_example, constrained(model, batch, candidates), strict=True)
        ]
    assert how in (Readout.score.value, IntensityReadout.expectation.value), how

    def scored(tensors: dict[str, Any]) -> torch.Tensor:
        found = score(model, tensors, candidates)
        lengths = torch.tensor([len(tokens) for tokens in candidates], device=found.device)
        return found / lengths if config.length_normalised else found

    scores = scored(batch)
    if any(e.marked is not None for e in examples):
        places = torch.tensor([[own.index(value) for value in values] for own in values_by_example])
        scores = scores.gather(1, places.to(scores.device))
    made = [_scored(e, values, row) for e, row in zip(examples, scores.cpu(), strict=True)]
    if config.calibration is Calibration.contextual and task.kind is Kind.classification:
        assert content_free is not None, "what the answers to nothing are kept in has to be given"
        priors = content_free.log_priors(examples, encoder, scored, scores.device)
        made = [
            plain if plain.error is not None else _calibrated(plain, values, prior)
            for plain, prior in zip(made, priors, strict=True)
        ]
    if config.logit_adjustment and task.kind is Kind.classification:
        assert log_priors is not None, "what is adjusted for has to be given"
        log_prior = log_priors[f"{examples[0].record.dataset}.{task.name}"]
        made = [
            plain if plain.error is not None else adjusted(plain, log_prior, config.logit_adjustment) for plain in made
        ]
    return made


CALIBRATION_NOT_FINITE = (
    "the model's scores of a prompt without content are not finite (NaN or infinity): set model.precision=float32, or"
    " leave out evaluation.calibration"
)
"""Why there is no answer where scores are finite and what is subtracted from them is not."""


def _calibrated(prediction: Prediction, values: list[Any], prior: torch.Tensor) -> Prediction:
    """`prediction` with prior[K] (nats, float64) taken from its scores."""
    assert prediction.scores is not None
    if not prior.isfinite().all():
        return _without_value(prediction, CALIBRATION_NOT_FINITE)
    scores = torch.tensor(list(prediction.scores.values()), dtype=torch.float64) - prior
    value = values[int(scores.argmax())]
    kept = dict(zip(prediction.scores, scores.tolist(), strict=True))
    return replace(prediction, exact=value, lenient=value, scores=kept, readout="score(contextual)")


def _without_value(prediction: Prediction, error: str) -> Prediction:
    return replace(prediction, exact=None, lenient=None, scores=None, outcome="error", error=error)


def adjusted(prediction: Prediction, log_prior: Mapping[str, float], tau: float) -> Prediction:
    """`prediction` with the label of the greatest score - tau · log prior, of equals the first: post-hoc logit
    adjustment (Menon et al., Long-tail Learning via Logit Adjustment, ICLR 2021, arXiv 2007.07314).

    Its scores stay as they are, so any tau can be applied to the predictions of a run with its priors.json. The readout
    says which one was. `log_prior` is in nats, as the scores are.
    """
    assert prediction.scores is not None, f"{prediction.id} has no scores"
    scores = {label: score - tau * log_prior[label] for label, score in prediction.scores.items()}
    if not all(map(math.isfinite, scores.values())):
        return _without_value(prediction, NOT_FINITE)
    label = max(scores, key=scores.__getitem__)
    return replace(prediction, exact=label, lenient=label, readout=f"score(tau={tau:g})")


def _opens_thoughts(example: Example, encoder: Encoder) -> bool:
    """Whether the chat template ends the prompt with the mark that opens a model's thoughts."""
    return bool(example.messages) and thoughts.ends_within(encoder.render(example.messages))


def _generated(example: Example, text: str, in_thoughts: bool = False) -> Prediction:
    """`in_thoughts` says that the prompt ended with the mark that opens a model's thoughts."""
    answer = thoughts.without(text, within=in_thoughts)
    if answer is None:
        exact = lenient = parsing.Reading(None, "no_label", thoughts.UNCLOSED)
    else:
        task, language = example.task, example.language
        final = messages.final_answer(answer, example.marker)
        # Without its marker there is no final answer; the lenient reader still takes what names one answer anywhere.
        exact_text, lenient_text = final or "", answer if final is None else final
        if example.marked is not None:
            exact_text, lenient_text = (
                in_words(each, example.marked, task, language) for each in (exact_text, lenient_text)
            )
        exact, lenient = parsing.exact(exact_text, task, language), parsing.lenient(lenient_text, task, language)
    return prediction_of(
        example,
        answer=text,
        exact=exact.value,
        lenient=lenient.value,
        outcome=lenient.outcome,
        readout="generate",
        error=lenient.reason,
    )


def possible(task: Task) -> list[Any]:
    """Every value that a task can have: its labels, its grid of numbers, or all combinations of its labels."""
    if task.kind is Kind.classification:
        return list(task.labels)
    if task.kind is Kind.intensity:
        return list(task.grid())
    sizes = range(len(task.labels) + 1)
    return [tuple(sorted(some)) for size in sizes for some in combinations(task.labels, size)]


def _scored(example: Example, values: list[Any], scores: torch.Tensor) -> Prediction:
    readout = "score" if example.task.kind is Kind.classification else "expectation"
    if not scores.isfinite().all():
        # Of NaN the first label would be taken; a label whose likelihood is 0 is a sign of the same trouble.
        return failed(example, readout, NOT_FINITE)
    kept = {str(value): float(number) for value, number in zip(values, scores, strict=True)}
    if readout == "score":
        value = values[int(scores.argmax())]
    else:
        value = float((scores.double().softmax(-1) * torch.tensor(values, dtype=torch.float64)).sum())
    return prediction_of(
        example, answer=None, exact=value, lenient=value, outcome="valid", readout=readout, scores=kept
    )
