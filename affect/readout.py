"""From a model and a batch of prompts to predictions: by scoring every label, or by generating and reading."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from affect import answers, prompts
from affect.config import EvaluationConfig, IntensityReadout, Readout
from affect.models import Encoder, Model, Unanswered
from affect.prompts import Example
from affect.record import Prediction
from affect.tasks import Kind


@torch.no_grad()
def score(model: Model, batch: dict[str, Any], candidates: list[list[int]]) -> torch.Tensor:
    """log p(candidate | prompt) in nats, [B, K] float32: the sum over the tokens of each candidate, end of turn
    included.

    The prompts are run once; all candidates continue from the same keys and values. The first token of a candidate is
    scored by the prompts' own last position, so a candidate of n tokens costs n - 1 further positions.
    """
    prefix = model.prefill(batch)
    num_prompts, device = prefix.logits.shape[0], prefix.logits.device
    first = prefix.logits.float().log_softmax(-1)
    scores = first[:, torch.tensor([tokens[0] for tokens in candidates], device=device)]
    longer = [k for k, tokens in enumerate(candidates) if len(tokens) > 1]
    if not longer:
        return scores
    width = max(len(candidates[k]) for k in longer) - 1
    given = torch.zeros((len(longer), width), dtype=torch.long, device=device)
    wanted = torch.full((len(longer), width), -100, device=device)
    for row, k in enumerate(longer):
        tokens = torch.tensor(candidates[k], device=device)
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
    scored = scored.masked_fill(wanted == -100, 0.0)
    scores[:, longer] += scored.sum(-1).view(num_prompts, len(longer))
    return scores


@torch.no_grad()
def predict(
    model: Model,
    encoder: Encoder,
    batch: dict[str, Any],
    examples: list[Example],
    config: EvaluationConfig,
    log_priors: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Prediction]:
    """The predictions for a batch of examples of one task, which is what `batch` was encoded from. `log_priors`, by
    task (`meld.emotion`) and label, are what config.logit_adjustment needs."""
    task, language = examples[0].task, examples[0].language
    assert all(e.task is task and e.language == language for e in examples), "a batch is read for one task at a time"
    if task.kind is Kind.classification and config.readout is Readout.score:
        values: list[Any] = list(task.labels)
    elif task.kind is Kind.intensity and config.intensity_readout is IntensityReadout.expectation:
        values = task.grid()
    else:
        answered = zip(examples, model.generate(batch, config.max_new_tokens), strict=True)
        return [
            failed(e, "generate", ids.reason) if isinstance(ids, Unanswered) else _generated(e, encoder.decode(ids))
            for e, ids in answered
        ]
    candidates = [encoder.answer_ids(examples[0].marker + task.answer(value, language)) for value in values]
    scores = score(model, batch, candidates)
    if config.length_normalised:
        scores = scores / torch.tensor([len(tokens) for tokens in candidates], device=scores.device)
    made = [_scored(e, values, row) for e, row in zip(examples, scores.cpu(), strict=True)]
    if config.logit_adjustment and task.kind is Kind.classification:
        assert log_priors is not None, "what is adjusted for has to be given"
        log_prior = log_priors[f"{examples[0].record.dataset}.{task.name}"]
        made = [adjusted(prediction, log_prior, config.logit_adjustment) for prediction in made]
    return made


def adjusted(prediction: Prediction, log_prior: Mapping[str, float], tau: float) -> Prediction:
    """`prediction` with the label of the greatest score - tau · log prior, of equals the first: post-hoc logit
    adjustment (Menon et al., Long-tail Learning via Logit Adjustment, ICLR 2021, arXiv 2007.07314).

    Its scores stay as they are, so any tau can be applied to the predictions of a run with its priors.json. The readout
    says which one was. `log_prior` is in nats, as the scores are.
    """
    assert prediction.scores is not None, f"{prediction.id} has no scores"
    scores = {label: score - tau * log_prior[label] for label, score in prediction.scores.items()}
    label = max(scores, key=scores.__getitem__)
    return replace(prediction, exact=label, lenient=label, readout=f"score(tau={tau:g})")


def _generated(example: Example, text: str) -> Prediction:
    final = prompts.final_answer(text, example.marker)
    # Without its marker there is no final answer; the lenient reader still takes what names one answer anywhere.
    exact = answers.Reading(None, "no_label") if final is None else answers.exact(final, example.task, example.language)
    lenient = answers.lenient(text if final is None else final, example.task, example.language)
    return _prediction(
        example, answer=text, exact=exact.value, lenient=lenient.value, outcome=lenient.outcome, readout="generate"
    )


def _scored(example: Example, values: list[Any], scores: torch.Tensor) -> Prediction:
    kept = {str(value): float(number) for value, number in zip(values, scores, strict=True)}
    if example.task.kind is Kind.classification:
        value, readout = values[int(scores.argmax())], "score"
    else:
        value = float((scores.double().softmax(-1) * torch.tensor(values, dtype=torch.float64)).sum())
        readout = "expectation"
    return _prediction(example, answer=None, exact=value, lenient=value, outcome="valid", readout=readout, scores=kept)


def failed(example: Example, readout: str, error: str) -> Prediction:
    """The prediction for an example that could not be put to the model, or got no answer from it."""
    return _prediction(example, answer=None, exact=None, lenient=None, outcome="error", readout=readout, error=error)


def _prediction(example: Example, **what: Any) -> Prediction:
    record = example.record
    return Prediction(
        id=record.id,
        dataset=record.dataset,
        split=record.split,
        task=example.task.name,
        group=record.group,
        target=record.labels.get(example.task.name),
        **what,
    )
