"""Self-MM's labels of single modalities, and its learner."""

from copy import deepcopy
from dataclasses import replace

import torch
from fake_features import EMOTION, SENTIMENT, planted

from affect.baselines.networks.self_mm import FUSED, SelfMM
from affect.baselines.self_mm import SelfMmLearner
from affect.baselines.unimodal_labels import UnimodalLabels
from affect.config.fusion import SelfMmConfig
from affect.models.heads import key


def test_generated_labels_on_a_case_computed_by_hand() -> None:
    """Four clips; representations of two numbers, the text's of one."""
    gold = torch.tensor([2.0, 1.0, -1.0, 0.0])
    labels = UnimodalLabels(gold, {FUSED: 2, "text": 1}, bound=3.0)
    labels.begin_epoch(1)
    fused = torch.tensor([[4.0, 0.0], [0.0, 4.0], [-2.0, -2.0], [100.0, 100.0]])
    text = torch.tensor([[3.0], [1.0], [-4.0], [100.0]])
    labels.update(torch.arange(4), {FUSED: fused, "text": text})
    # Epoch 1: the clips' own labels, of no weight.
    assert torch.equal(labels.labels("text"), gold)
    assert not labels.weights("text", torch.arange(4)).any()
    labels.begin_epoch(2)
    # Centres: fused (2, 2) and (-2, -2), text 2 and -4. The neutral clip is in neither.
    labels.update(
        torch.tensor([0, 2]), {FUSED: torch.tensor([[2.0, 1.0], [1.0, 2.0]]), "text": torch.tensor([[1.0], [0.0]])}
    )
    # Clip 0: fused D^p = 1/√2, D^n = 25/√2, r_m = 24; text D^p = 1, D^n = 25, r_t = 24; y = 2/2 + (2 + 0)/2 = 2.
    # Clip 2: fused likewise 24; text D^p = 4, D^n = 16, r_t = 3: y = -1 · 3/24/2 + (-1 + 3 - 24)/2 = -11.06, cut to -3.
    expected = torch.tensor([1 / 3 * 2 + 2 / 3 * 2, 1.0, 1 / 3 * -1 + 2 / 3 * -3, 0.0])
    torch.testing.assert_close(labels.labels("text"), expected)
    torch.testing.assert_close(labels.weights("text", torch.tensor([2])), torch.tensor([4 / 3]).tanh())
    labels.begin_epoch(3)
    # Text centres are now the means of (1, 1) and of (0): clips 0 and 2 have new representations.
    torch.testing.assert_close(labels.centres("text"), torch.tensor([[1.0], [0.0]]))
    labels.update(torch.tensor([2]), {FUSED: torch.tensor([[1.0, 2.0]]), "text": torch.tensor([[0.5]])})
    # Text r_t = 0 (half-way). Fused centres ((2, 1) + (0, 4))/2 = (1, 2.5) and (1, 2): r_m = (0 - 0.25)/0.25 = -1, so
    # y = 0 + (-1 + 0 + 1)/2 = 0, with weights 2/4 and 2/4.
    torch.testing.assert_close(labels.labels("text")[2], torch.tensor(expected[2].item() / 2), atol=1e-5, rtol=0)


def test_the_distance_of_the_public_code_is_euclidean() -> None:
    made = {}
    for squared in (True, False):
        labels = UnimodalLabels(torch.tensor([1.0, -1.0]), {FUSED: 1, "text": 1}, bound=9.0, squared=squared)
        labels.begin_epoch(1)
        ends = torch.tensor([[1.0], [-1.0]])
        labels.update(torch.arange(2), {FUSED: ends, "text": ends})
        labels.begin_epoch(2)
        labels.update(torch.tensor([0]), {FUSED: torch.tensor([[0.5]]), "text": torch.tensor([[0.0]])})
        made[squared] = labels.labels("text")[0]
    # r_m = (1.5 - 0.5)/0.5 = 2, squared (2.25 - 0.25)/0.25 = 8; r_t = 0: y = (1 - r_m)/2.
    torch.testing.assert_close(made[False], torch.tensor(1 / 3 - 2 / 3 * 0.5))
    torch.testing.assert_close(made[True], torch.tensor(1 / 3 - 2 / 3 * 3.5))


def test_labels_by_people_stay_and_an_empty_class_generates_nothing() -> None:
    by_people = {"text": torch.tensor([-0.5, float("nan")])}
    labels = UnimodalLabels(torch.tensor([1.0, 0.5]), {FUSED: 2, "text": 2, "audio": 2}, 1.0, by_people)
    for epoch in (1, 2, 3):
        labels.begin_epoch(epoch)
        labels.update(torch.arange(2), {name: torch.randn(2, 2) for name in (FUSED, "text", "audio")})
    assert labels.labels("text").tolist() == [-0.5, 0.5]
    assert labels.labels("audio").tolist() == [1.0, 0.5], "no clip is negative"
    torch.testing.assert_close(labels.weights("text", torch.tensor([0])), torch.tensor([1.5]).tanh())


def learner(examples, source, tasks, **settings) -> SelfMmLearner:
    torch.manual_seed(0)
    config = SelfMmConfig(family="self_mm", name="self_mm", modalities="ta", **settings)
    made = SelfMmLearner(lambda widths: SelfMM(widths, config), config, source, ("text", "audio"), tasks)
    made.begin_training(examples)
    return made


VALUES = [-3.0, -2.5, -2.0, -1.5, 0.0, 0.5, 1.0, -1.0] * 3


def trained(made, examples, optimiser, epochs, steps=None) -> list[float]:
    batches = [made.collator(True)(examples[i : i + 8]) for i in range(0, len(examples), 8)]
    losses = []
    for epoch in epochs:
        if steps is None or steps.start == 0:
            made.begin_epoch(epoch)
        for batch in batches if steps is None else batches[steps]:
            optimiser.zero_grad()
            loss = made.loss(batch)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses


def optimiser_of(made) -> torch.optim.Optimizer:
    return torch.optim.AdamW(made.parameter_groups())


def test_training_taken_up_again_is_the_same_to_the_last_bit() -> None:
    examples, source = planted(SENTIMENT, VALUES, {"text": 4, "audio": 3})
    made = learner(examples, source, [SENTIMENT], learning_rate=0.01)
    torch.manual_seed(1)
    optimiser = optimiser_of(made)
    trained(made, examples, optimiser, [1, 2])
    trained(made, examples, optimiser, [3], slice(0, 1))
    checkpoint = {"state_dict": {k: v.clone() for k, v in made.trained_state().items()}, "base": made.base()}
    moments, random = deepcopy(optimiser.state_dict()), torch.get_rng_state()
    rest = trained(made, examples, optimiser, [3], slice(1, 3)) + trained(made, examples, optimiser, [4])
    labels = made.labels[key(SENTIMENT)]
    assert (labels.labels("text") != labels.gold).any(), "labels were generated"
    again = learner(examples, source, [SENTIMENT], learning_rate=0.01)
    again.load(checkpoint, "last.ckpt")
    optimiser = optimiser_of(again)
    optimiser.load_state_dict(moments)
    torch.set_rng_state(random)
    assert trained(again, examples, optimiser, [3], slice(1, 3)) + trained(again, examples, optimiser, [4]) == rest
    for name, tensor in made.trained_state().items():
        assert torch.equal(tensor, again.trained_state()[name]), name
    # What evaluates has no training clips.
    evaluator = learner([], source, [SENTIMENT])
    evaluator.load({"state_dict": made.trained_state(), "base": made.base()}, "best.ckpt")
    batch = made.collator(False)(examples)
    for module in (made.module, evaluator.module):
        module.eval()
    assert evaluator.predict(batch) == made.predict(batch)


def test_the_loss_is_the_sum_over_modalities_with_labels_of_people_where_there_are_some() -> None:
    examples, source = planted(SENTIMENT, [1.0, -2.0], {"text": 4, "audio": 3})
    own = {"sentiment": 1.0, "sentiment_text": -2.0, "sentiment_audio": 0.5}
    examples[0] = replace(examples[0], record=replace(examples[0].record, labels=own))
    made = learner(examples, source, [SENTIMENT])
    made.module.eval()
    batch = made.collator(True)(examples)
    made.begin_epoch(1)
    fused = made.module(batch.tensors)
    # Outputs are in halves of the range from -3 to 1, around -1.
    outputs = {
        m: made.module.unimodal_heads[m].layers[key(SENTIMENT)](fused.unimodal[m])[:, 0] * 2 - 1 for m in fused.unimodal
    }
    whole = made.module.heads.layers[key(SENTIMENT)](fused.states)[:, 0] * 2 - 1
    first = (whole[0] - 1).abs()
    first = first + torch.tensor(3.0).tanh() * (outputs["text"][0] + 2).abs()
    first = first + torch.tensor(0.5).tanh() * (outputs["audio"][0] - 0.5).abs()
    second = (whole[1] + 2).abs()  # generated labels weigh nothing in the first epoch
    torch.testing.assert_close(made.loss(batch), (first + second) / 2)


def test_classification_trains_each_modality_on_the_label_of_the_clip_or_its_own() -> None:
    examples, source = planted(EMOTION, ["joy", "anger"], {"text": 4, "audio": 3})
    labels = {"emotion": "joy", "emotion_audio": "neutral", "emotion_text": "not one of the task's"}
    examples[0] = replace(examples[0], record=replace(examples[0].record, labels=labels))
    made = learner(examples, source, [EMOTION])
    made.module.eval()
    batch = made.collator(True)(examples)
    fused = made.module(batch.tensors)

    def loss(heads, states, gold):  # anger, joy, neutral
        logits = heads.layers[key(EMOTION)](states)
        return torch.nn.functional.cross_entropy(logits, torch.tensor(gold), reduction="none")

    expected = loss(made.module.heads, fused.states, [1, 0])
    expected = expected + loss(made.module.unimodal_heads["text"], fused.unimodal["text"], [1, 0])
    expected = expected + loss(made.module.unimodal_heads["audio"], fused.unimodal["audio"], [2, 0])
    torch.testing.assert_close(made.loss(batch), expected.mean())


def test_encoders_have_their_own_rates() -> None:
    examples, source = planted(SENTIMENT, VALUES, {"text": 4, "audio": 3})
    made = learner(examples, source, [SENTIMENT], learning_rate=1e-3, audio_learning_rate=5e-3, audio_weight_decay=0.02)
    others, audio = made.parameter_groups()
    assert (others["lr"], others["weight_decay"]) == (1e-3, 0.0)
    assert (audio["lr"], audio["weight_decay"]) == (5e-3, 0.02)
    assert len(others["params"]) + len(audio["params"]) == len(list(made.module.parameters()))
    assert made.rates() == {"model.learning_rate": 1e-3, "model.audio_learning_rate": 5e-3}
