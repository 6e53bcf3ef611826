"""Heads: a linear layer a task as the target of fine-tuning, on tiny models of both families."""

import doctest
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from readout_cases import EMOTION, LEVEL, Pair, conversations, evaluation, examples
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny_models import tiny_composed_language, tiny_qwen_omni
from torch.nn import functional as F

from affect.config import (
    ComposedConfig,
    ConfigError,
    FinetuningConfig,
    HeadFit,
    IntensityReadout,
    Kind,
    QwenOmniConfig,
    Readout,
    Target,
    Task,
    Tower,
)
from affect.data.media import Sampling
from affect.evaluation import predict
from affect.evaluation.language import LanguageLearner
from affect.models import adapters, heads, load, trained_tensors
from affect.models.collate import Batch
from affect.models.parameter_groups import parameter_groups

SEVERAL = Task(name="several", kind=Kind.multi_label, labels=["joy", "anger", "fear"], question={"en": "Which?"})
TASKS = [EMOTION, LEVEL, SEVERAL]
HEAD = {"readout": Readout.head, "intensity_readout": IntensityReadout.head}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("heads")
    tiny_composed_language(root / "composed")
    tiny_qwen_omni(root / "qwen_omni")
    return root


@pytest.fixture(params=["composed", "qwen_omni"])
def pair(request: pytest.FixtureRequest, folders: Path) -> Pair:
    folder = str(folders / request.param)
    if request.param == "composed":
        config = ComposedConfig(name="tiny", modalities="tav", language=folder, encoder_width=16, audio_tokens=3)
    else:
        config = QwenOmniConfig(name="tiny", modalities="tav", checkpoint=folder)
    torch.manual_seed(0)
    model, encoder = load(config, modalities="tav", cache_root=folders)
    heads.attach(model, TASKS)
    return model.eval(), encoder


def random_weights(model) -> None:
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.normal_(std=0.5)


def test_a_head_is_given_what_the_output_embedding_is_given(pair: Pair) -> None:
    model, encoder = pair
    batch = encoder.encode(conversations())
    assert (batch["attention_mask"] == 0).any()
    with torch.no_grad():
        states = heads.last_states(model, batch)
        logits = model(batch, 1)[:, -1]
    torch.testing.assert_close(heads.output_embedding(model)(states), logits, atol=1e-5, rtol=1e-5)
    assert not heads.output_embedding(model)._forward_pre_hooks


def test_a_head_computes_in_float32_whatever_the_model_does(pair: Pair) -> None:
    model, encoder = pair
    random_weights(model)
    batch = encoder.encode(conversations())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = heads.outputs(model, batch, EMOTION)
        states = heads.last_states(model, batch)
        loss = heads.loss(model, batch, examples(EMOTION))
    assert found.dtype is torch.float32 and loss.dtype is torch.float32
    layer = model.heads.layers[heads.key(EMOTION)]
    order = [sorted(EMOTION.labels).index(label) for label in EMOTION.labels]
    with torch.no_grad():
        torch.testing.assert_close(found, layer(states)[:, order], atol=1e-6, rtol=1e-6)


def test_an_answer_behind_the_prompt_is_our_mistake(pair: Pair) -> None:
    model, encoder = pair
    batch = encoder.encode([replace(c, answer="joy") for c in conversations("")])
    with pytest.raises(AssertionError, match="which an answer would follow"):
        heads.last_states(model, batch)


def test_the_loss_is_the_mean_over_examples_of_several_tasks(pair: Pair) -> None:
    model, encoder = pair
    random_weights(model)
    batch = encoder.encode(conversations())
    made = [examples(EMOTION)[1], examples(LEVEL)[1], examples(SEVERAL, labelled=False)[2]]
    made[2] = replace(made[2], record=replace(made[2].record, labels={"several": ("anger", "joy")}))
    with torch.no_grad():
        states = heads.last_states(model, batch)
        found = heads.loss(model, batch, made)
        weighted = heads.loss(model, batch, made, [1.0, 3.0, 0.0])
    layers = model.heads.layers
    first = layers[heads.key(EMOTION)](states[0])
    # In alphabetical order: ang, anger, joy, n, not joy at all. The second example is of label n.
    expected = [-first.log_softmax(-1)[3]]
    # From -1 to 1, so that halves of the range are units.
    expected.append((layers[heads.key(LEVEL)](states[1])[0] - 0.5).abs())
    third = layers[heads.key(SEVERAL)](states[2])
    expected.append(F.binary_cross_entropy(third.sigmoid(), torch.tensor([1.0, 0.0, 1.0])))
    torch.testing.assert_close(found, sum(expected) / 3, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weighted, (expected[0] + 3 * expected[1]) / 3, atol=1e-5, rtol=1e-5)


def test_an_intensity_is_in_its_own_units(pair: Pair) -> None:
    task = Task(name="wide", kind=Kind.intensity, low=-3, high=3, step=0.1, headline="mae", question={"en": "?"})
    found = [heads.number(torch.tensor(x), task).item() for x in (-2.0, -1.0, 0.0, 0.5, 7.0)]
    assert found == [-3.0, -3.0, 0.0, 1.5, 3.0]
    shifted = Task(name="to ten", kind=Kind.intensity, low=0, high=10, step=1, headline="mae", question={"en": "?"})
    assert heads.number(torch.tensor(0.2), shifted).item() == pytest.approx(6.0)


def test_predictions_of_every_kind(pair: Pair) -> None:
    model, encoder = pair
    random_weights(model)
    batch = encoder.encode(conversations())
    with torch.no_grad():
        states = heads.last_states(model, batch)
        outputs = {task.name: model.heads.layers[heads.key(task)](states) for task in TASKS}
    for i, found in enumerate(predict.predict(model, encoder, batch, examples(EMOTION), evaluation(**HEAD))):
        scores = dict(zip(sorted(EMOTION.labels), outputs["emotion"][i].log_softmax(-1).tolist(), strict=True))
        assert found.scores == pytest.approx(scores, abs=1e-5) and list(found.scores) == EMOTION.labels
        assert found.exact == found.lenient == max(scores, key=scores.__getitem__)
        assert (found.readout, found.outcome, found.answer) == ("head", "valid", None)
    for i, found in enumerate(predict.predict(model, encoder, batch, examples(LEVEL), evaluation(**HEAD))):
        assert found.exact == pytest.approx(outputs["level"][i, 0].clamp(-1, 1).item(), abs=1e-5)
    asked = examples(SEVERAL, labelled=False)
    for i, found in enumerate(predict.predict(model, encoder, batch, asked, evaluation(**HEAD))):
        named = zip(("anger", "fear", "joy"), outputs["several"][i].tolist(), strict=True)
        assert found.exact == tuple(label for label, logit in named if logit > 0)


@pytest.mark.parametrize("language", [Tower.frozen, Tower.lora])
def test_a_head_learns_alone_and_with_lora(pair: Pair, language: Tower) -> None:
    model, encoder = pair
    config = FinetuningConfig(name="x", rank=2, target=Target.head, language=language, audio=Tower.frozen)
    config = replace(config, vision=Tower.frozen, projector=Tower.frozen, new_learning_rate=0.05, learning_rate=0.01)
    counts = {count.tower: count for count in adapters.apply(model, config)}
    assert (counts["head"].mode, counts["head"].learning_rate) == ("full", 0.05)
    assert counts["head"].trained == counts["head"].parameters == (64 + 1) * (5 + 1 + 3)
    batch, made = encoder.encode(conversations()), examples(EMOTION)
    optimizer = torch.optim.AdamW(parameter_groups(model, config))
    losses = []
    for _ in range(10):
        loss = heads.loss(model, batch, made)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(5.0).log().item(), abs=1e-5)  # it begins knowing nothing
    assert losses[-1] < losses[0] - 0.5
    changed = {adapters.tower_of(name, model.towers) for name in trained_tensors.trained_state(model)}
    assert changed == ({"head"} if language is Tower.frozen else {"head", "language"})


def test_a_linear_probe_is_a_logistic_regression_on_the_states(pair: Pair) -> None:
    model, encoder = pair
    frozen = dict.fromkeys(("language", "audio", "vision", "projector"), Tower.frozen)
    settings = {"target": Target.head, "head_fit": HeadFit.linear, "head_strength": 0.3}
    config = FinetuningConfig(name="probe", **settings, **frozen)
    adapters.apply(model, config)
    wanted = Sampling(audio=True, video=True, num_frames=2, frame_size=32, max_seconds=30.0)
    learner = LanguageLearner(model, encoder, config, evaluation(**HEAD), wanted)
    assert not learner.by_gradients
    made, tensors = examples(EMOTION), encoder.encode(conversations())
    learner.fit([Batch(examples=made, tensors=tensors, failed=[])] * 2, {})
    with torch.no_grad():
        states = heads.last_states(model, tensors).double().numpy()
        logits = heads.outputs(model, tensors, EMOTION)
    gold = [example.record.labels["emotion"] for example in made]
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000)).fit(
        np.concatenate([states] * 2), gold * 2
    )
    seen = [EMOTION.labels.index(label) for label in expected.classes_]
    torch.testing.assert_close(
        logits.softmax(-1)[:, seen].double(), torch.from_numpy(expected.predict_proba(states)), atol=1e-3, rtol=0
    )
    assert {adapters.tower_of(name, model.towers) for name in learner.trained_state()} == {"head"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_head_whose_output_is_not_finite_gives_an_error_for_every_kind_of_task(pair: Pair, bad: float) -> None:
    model, encoder = pair
    random_weights(model)
    batch = encoder.encode(conversations())
    for task in TASKS:
        asked = examples(task, labelled=False)
        assert [p.outcome for p in predict.predict(model, encoder, batch, asked, evaluation(**HEAD))] == ["valid"] * 3
        layer = model.heads.layers[heads.key(task)]
        with torch.no_grad():
            layer.bias[0] = bad
        for prediction in predict.predict(model, encoder, batch, asked, evaluation(**HEAD)):
            assert (prediction.outcome, prediction.readout) == ("error", "head")
            assert prediction.exact is prediction.lenient is prediction.scores is None
            assert "not finite" in prediction.error


def test_a_task_of_another_dataset_has_the_head_of_its_name_and_labels(pair: Pair) -> None:
    model, _ = pair
    heads.check(model, [replace(EMOTION, labels=EMOTION.labels[::-1], headline="uar")], "outputs/x")
    with pytest.raises(
        ConfigError,
        match=r"^run=outputs/x was trained with finetuning\.target=head, and has no head for task 'emotion' \(joy,"
        r" anger\): evaluate it on a task of the same name and labels",
    ):
        heads.check(model, [replace(EMOTION, labels=["joy", "anger"])], "outputs/x")
    with pytest.raises(ConfigError, match=r"no head for task 'level' \(-3 to 3\)"):
        heads.check(model, [replace(LEVEL, low=-3, high=3)], "outputs/x")


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(heads).attempted > 0 and doctest.testmod(heads).failed == 0
