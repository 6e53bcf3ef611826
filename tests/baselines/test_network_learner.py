"""The learner of networks on features: standardisation, losses, checkpoints."""

import pytest
import torch
from fake_features import EMOTION, MOODS, SENTIMENT, FakeFeatures, example, planted
from torch import nn
from torch.nn import functional as F

from affect.baselines.network_learner import NetworkLearner
from affect.config import ConfigError, NetworkConfig
from affect.config.baselines import IntensityLoss


class Fused:
    def __init__(self, states, loss=None):
        self.states, self.loss = states, loss


class Mean(nn.Module):
    """The mean of the text over time, through a linear layer; an extra loss of 1 a clip where asked for."""

    width = 6

    def __init__(self, widths, extra=False):
        super().__init__()
        self.linear, self.extra = nn.Linear(widths["text"], self.width), extra

    def forward(self, batch):
        states = self.linear(batch["text"].sum(1) / batch["text_lengths"][:, None])
        return Fused(states, torch.ones(len(states)) if self.extra else None)


def learner(source: FakeFeatures, tasks, extra=False, **settings) -> NetworkLearner:
    torch.manual_seed(0)
    config = NetworkConfig(family="mean", name="mean", modalities="t", **settings)
    return NetworkLearner(lambda widths: Mean(widths, extra), config, source, ("text",), tasks)


def test_standardisation_is_measured_on_the_training_clips_and_leaves_padding_at_zero():
    examples, source = planted(EMOTION, ["joy", "anger", "neutral"] * 5, {"text": 4})
    for clip in source.sequences.values():
        clip["text"][:, 3] = 7.0  # the same in every step
    made = learner(source, [EMOTION])
    made.measure(examples)
    steps = torch.cat([clip["text"] for clip in source.sequences.values()])
    batch = made.collator(True)(examples)
    scaled = made.module.standardise(batch.tensors)["text"]
    for row, each in zip(scaled, examples, strict=True):
        clip = source.of(each.record)["text"]
        expected = (clip - steps.mean(0)) / torch.where(
            steps.std(0, unbiased=False) > 1e-6, steps.std(0, unbiased=False), 1.0
        )
        torch.testing.assert_close(row[: len(clip)], expected, atol=1e-4, rtol=1e-4)
        assert (row[len(clip) :] == 0).all()


@pytest.mark.parametrize("how", list(IntensityLoss))
def test_the_loss_is_the_mean_of_the_formula_of_each_task(how):
    examples, source = planted(EMOTION, ["joy", "anger"], {"text": 5})
    examples += [example("toy/0", MOODS, ("tense",)), example("toy/1", SENTIMENT, -2.5)]
    made = learner(source, [EMOTION, MOODS, SENTIMENT], extra=True, intensity_loss=how)
    batch = made.collator(True)(examples)
    states = made.module(batch.tensors).states
    emotion, moods, sentiment = (layer(states) for layer in made.module.heads.layers.values())
    error = -1 + 2 * sentiment[3, 0] + 2.5
    losses = torch.stack(
        [
            F.cross_entropy(emotion[0], torch.tensor(1)),  # anger, joy, neutral
            F.cross_entropy(emotion[1], torch.tensor(0)),
            F.binary_cross_entropy_with_logits(moods[2], torch.tensor([0.0, 1.0])),  # bright, tense
            error.abs() if how is IntensityLoss.l1 else error**2,
        ]
    )
    torch.testing.assert_close(made.loss(batch), losses.mean() + 1)
    torch.testing.assert_close(made.loss(batch, over=8.0), (losses + 1).sum() / 8)
    weights = [0.5, 1.0, 2.0, 1.0]
    torch.testing.assert_close(made.loss(batch, weights), ((losses + 1) * torch.tensor(weights)).mean())


def test_it_learns_and_a_checkpoint_gives_the_same_predictions():
    examples, source = planted(EMOTION, ["joy", "anger", "neutral"] * 8, {"text": 4})
    made = learner(source, [EMOTION])
    made.measure(examples)
    batch = made.collator(True)(examples)
    optimiser = torch.optim.AdamW(made.parameter_groups())
    for group in optimiser.param_groups:
        group["lr"] = 0.05
    for _ in range(60):
        optimiser.zero_grad()
        made.loss(batch).backward()
        optimiser.step()
    predicted = made.predict(batch)
    assert sum(p.lenient == p.target for p in predicted) > 20
    again = learner(source, [EMOTION])
    checkpoint = {"state_dict": made.trained_state(), "base": made.base()}
    again.load(checkpoint, "best.ckpt")
    assert again.predict(batch) == predicted
    with pytest.raises(ConfigError, match=r"best\.ckpt does not fit this network and its tasks"):
        learner(source, [MOODS]).load(checkpoint, "best.ckpt")


def test_no_gradient_is_missing_for_a_task_without_examples():
    examples, source = planted(EMOTION, ["joy"], {"text": 3})
    made = learner(source, [EMOTION, SENTIMENT])
    made.loss(made.collator(True)(examples)).backward()
    assert all(p.grad is not None for p in made.module.parameters())
