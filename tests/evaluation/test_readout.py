"""Readouts of both families against one plain forward pass a label."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from readout_cases import EMOTION, LEVEL, Pair, conversations, evaluation, examples
from tiny_models import tiny_composed_language, tiny_qwen_omni

from affect.config import (
    Calibration,
    ComposedConfig,
    IntensityReadout,
    Kind,
    QwenOmniConfig,
    Readout,
    Task,
)
from affect.data.media import Sampling
from affect.evaluation import predict
from affect.evaluation.content_free import ContentFree
from affect.models import NOT_FINITE, Conversation, Encoder, Model, load
from affect.models.chat import answer_text
from affect.models.generation import greedy
from affect.prompting.messages import Example
from affect.prompting.thoughts import UNCLOSED


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tiny_composed_language(tmp_path_factory.mktemp("readout") / "language")
    config = ComposedConfig(name="tiny", modalities="tav", language=str(folder), encoder_width=16, audio_tokens=3)
    torch.manual_seed(0)
    model, encoder = load(config, modalities="tav", cache_root=folder)
    return model.eval(), encoder


@pytest.fixture(scope="module")
def qwen_omni(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tiny_qwen_omni(tmp_path_factory.mktemp("readout") / "thinker")
    config = QwenOmniConfig(name="tiny", modalities="tav", checkpoint=str(folder))
    model, encoder = load(config, modalities="tav", cache_root=folder)
    return model.eval(), encoder


@pytest.fixture(params=["composed", "qwen_omni"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return request.getfixturevalue(request.param)


def by_hand(model: Model, encoder: Encoder, items: list[Conversation], texts: list[str]) -> torch.Tensor:
    """Log-probabilities[B, K] out of one forward pass a prompt and label over prompt and answer."""
    rows = []
    for item in items:
        row = []
        for text in texts:
            batch = encoder.encode([replace(item, answer=text)])
            ids = encoder.answer_ids(text)
            with torch.no_grad():
                logits = model(batch, len(ids) + 1)[0].float().log_softmax(-1)
            row.append(sum(logits[i, token] for i, token in enumerate(ids)))
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("side_by_side", [True, False])
@pytest.mark.parametrize("kinds", ["", "av"])
def test_scores_are_those_of_one_forward_pass_a_label(
    pair: Pair, kinds: str, side_by_side: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, encoder = pair
    assert model.takes_branches
    monkeypatch.setattr(type(model), "takes_branches", side_by_side)
    items, texts = conversations(kinds), [EMOTION.answer(label, "en") for label in EMOTION.labels]
    candidates = [encoder.answer_ids(text) for text in texts]
    assert len({len(ids) for ids in candidates}) > 2
    batch = encoder.encode(items)
    assert (batch["attention_mask"] == 0).any()  # prompts of different lengths
    scores = predict.score(model, batch, candidates)
    expected = by_hand(model, encoder, items, texts)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
    assert expected.std(0).min() > 1e-3  # the prompts differ, so a mixed-up row would show


def test_a_candidate_that_begins_another_and_one_of_a_single_token(composed: Pair) -> None:
    model, encoder = composed
    long = encoder.answer_ids("anger")
    candidates = [long[:1], long, long[:2], [encoder.end]]
    batch = encoder.encode(conversations(""))
    scores = predict.score(model, batch, candidates)
    torch.testing.assert_close(
        scores[:, 1], by_hand(model, encoder, conversations(""), ["anger"])[:, 0], atol=1e-4, rtol=0
    )
    with torch.no_grad():
        first = model(batch, 1)[:, 0].log_softmax(-1)
    torch.testing.assert_close(scores[:, 0], first[:, long[0]], atol=1e-4, rtol=0)
    torch.testing.assert_close(scores[:, 3], first[:, encoder.end], atol=1e-4, rtol=0)
    assert (scores[:, 0] > scores[:, 2]).all() and (scores[:, 2] > scores[:, 1]).all()
    only_short = predict.score(model, batch, [long[:1], [encoder.end]])
    torch.testing.assert_close(only_short, scores[:, [0, 3]], atol=1e-5, rtol=0)


def test_probabilities_of_all_answers_of_two_tokens_add_up(composed: Pair) -> None:
    model, encoder = composed
    vocabulary = len(encoder.tokenizer)
    first = 7
    scores = predict.score(
        model, encoder.encode(conversations("")), [[first], *([first, k] for k in range(vocabulary))]
    )
    torch.testing.assert_close(scores[:, 1:].logsumexp(1), scores[:, 0], atol=1e-4, rtol=0)


def test_classification_takes_the_label_with_the_greatest_score(pair: Pair) -> None:
    model, encoder = pair
    items, asked = conversations(), examples(EMOTION)
    batch, texts = encoder.encode(items), [EMOTION.answer(label, "en") for label in EMOTION.labels]
    expected = by_hand(model, encoder, items, texts)
    lengths = torch.tensor([len(encoder.answer_ids(text)) for text in texts])
    plain = predict.predict(model, encoder, batch, asked, evaluation())
    normalised = predict.predict(model, encoder, batch, asked, evaluation(length_normalised=True))
    for found, numbers in ((plain, expected), (normalised, expected / lengths)):
        for i, prediction in enumerate(found):
            assert prediction.exact == prediction.lenient == EMOTION.labels[int(numbers[i].argmax())]
            assert list(prediction.scores) == EMOTION.labels  # by label, not by the word that stands for it
            assert list(prediction.scores.values()) == pytest.approx(numbers[i].tolist(), abs=1e-4)
            assert (prediction.outcome, prediction.readout, prediction.answer) == ("valid", "score", None)
            assert (prediction.id, prediction.target) == (f"d/test/{i}", EMOTION.labels[i])


def test_expectation_is_the_mean_of_the_grid_by_probability(pair: Pair) -> None:
    model, encoder = pair
    items = conversations()
    settings = evaluation(intensity_readout=IntensityReadout.expectation)
    found = predict.predict(model, encoder, encoder.encode(items), examples(LEVEL), settings)
    texts = ["-1.0", "-0.5", "0.0", "0.5", "1.0"]
    shares = by_hand(model, encoder, items, texts).double().softmax(-1)
    expected = (shares * torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])).sum(-1)
    for i, prediction in enumerate(found):
        assert prediction.exact == prediction.lenient == pytest.approx(float(expected[i]), abs=1e-4)
        assert (prediction.readout, prediction.outcome, prediction.target) == ("expectation", "valid", 0.5)
        assert list(prediction.scores) == ["-1.0", "-0.5", "0.0", "0.5", "1.0"]


class Says:
    """A model that writes what it is told to."""

    def __init__(self, encoder: Encoder, texts: list[str]) -> None:
        self.ids = [encoder.answer_ids(text)[:-1] for text in texts]

    def generate(self, batch: dict, max_new_tokens: int) -> list[list[int]]:
        return [row[:max_new_tokens] for row in self.ids]


def test_generated_text_is_read_by_both_readers(composed: Pair) -> None:
    _, encoder = composed
    model = Says(encoder, ["Neutral.", "It is anger, I think", "Perhaps"])
    settings = evaluation(readout=Readout.generate, max_new_tokens=50)
    found = predict.predict(model, encoder, {}, examples(EMOTION), settings)
    assert [p.answer for p in found] == ["Neutral.", "It is anger, I think", "Perhaps"]
    assert [p.exact for p in found] == ["n", None, None]
    assert [p.lenient for p in found] == ["n", "anger", None]
    assert [p.outcome for p in found] == ["valid", "valid", "no_label"]
    assert {(p.readout, p.scores) for p in found} == {("generate", None)}
    numbers = predict.predict(Says(encoder, ["0.5", "It is -1", "5"]), encoder, {}, examples(LEVEL), settings)
    assert [(p.exact, p.lenient, p.outcome) for p in numbers] == [
        (0.5, 0.5, "valid"),
        (None, -1.0, "valid"),
        (5.0, 5.0, "out_of_range"),
    ]
    assert (
        predict.predict(model, encoder, {}, examples(EMOTION), replace(settings, max_new_tokens=2))[0].answer
        != "Neutral."
    )


def test_thoughts_in_generated_text_do_not_count(composed: Pair) -> None:
    _, encoder = composed
    settings = evaluation(readout=Readout.generate, max_new_tokens=200)
    texts = ["<think>joy?</think>Neutral.", "Answer: joy</think>\nAnswer: anger", "<think>Answer: joy"]
    asked = [replace(e, marker="Answer: ") if i else e for i, e in enumerate(examples(EMOTION))]
    found = predict.predict(Says(encoder, texts), encoder, {}, asked, settings)
    assert [(p.exact, p.lenient, p.outcome) for p in found] == [
        ("n", "n", "valid"),
        ("anger", "anger", "valid"),
        (None, None, "no_label"),
    ]
    assert [p.answer for p in found] == texts and [p.error for p in found] == [None, None, UNCLOSED]


def test_a_prompt_may_open_the_thoughts(composed: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    _, encoder = composed
    rendered = encoder.render
    monkeypatch.setattr(encoder, "render", lambda messages: f"{rendered(messages)}<think>\n")
    asked = [replace(e, messages=conversations("")[0].messages) for e in examples(EMOTION)]
    settings = evaluation(readout=Readout.generate, max_new_tokens=200)
    texts = ["joy</think>anger", "It could be joy, since", "anger"]
    found = predict.predict(Says(encoder, texts), encoder, {}, asked, settings)
    assert [(p.lenient, p.outcome) for p in found] == [("anger", "valid"), (None, "no_label"), (None, "no_label")]
    assert [p.error for p in found] == [None, UNCLOSED, UNCLOSED]


def test_marks_of_thoughts_that_are_special_tokens_stay_in_the_answer(composed: Pair) -> None:
    _, encoder = composed
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    ids = tokenizer("[THINK]joy[/THINK]anger", add_special_tokens=False)["input_ids"] + [encoder.end]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "joyanger"
    assert answer_text(tokenizer, ids) == "[THINK]joy[/THINK]anger"
    plain = tokenizer("joy", add_special_tokens=False)["input_ids"] + [encoder.end]
    assert answer_text(tokenizer, plain) == "joy"


def test_a_model_really_generates(pair: Pair) -> None:
    model, encoder = pair
    batch = encoder.encode(conversations())
    settings = evaluation(readout=Readout.generate, max_new_tokens=5)
    found = predict.predict(model, encoder, batch, examples(EMOTION, labelled=False), settings)
    assert [p.answer for p in found] == [encoder.decode(ids) for ids in model.generate(batch, 5)]
    assert all(p.target is None and p.outcome != "error" for p in found)


def test_a_failed_prediction_says_why_and_has_no_value() -> None:
    prediction = predict.failed(examples(EMOTION)[1], "error", "clip.mp4: there is no such file")
    assert (prediction.outcome, prediction.error) == ("error", "clip.mp4: there is no such file")
    assert prediction.exact is prediction.lenient is prediction.answer is prediction.scores is None
    assert prediction.target == "n" and prediction.id == "d/test/1"


def test_examples_of_two_tasks_are_never_read_together(composed: Pair) -> None:
    model, encoder = composed
    with pytest.raises(AssertionError, match="one task at a time"):
        predict.predict(model, encoder, {}, [examples(EMOTION)[0], examples(LEVEL)[0]], evaluation())


# ---------------------------------------------------------------- constrained


def constrained_by_hand(model: Model, batch: dict, candidates: list[list[int]]) -> list[int]:
    """One forward pass over everything a position, instead of a cache, and a prefix tree of dictionaries."""
    tree: dict = {}
    for k, tokens in enumerate(candidates):
        node = tree
        for token in tokens:
            node = node.setdefault(token, {})
        node["end"] = k
    found = []
    for i in range(len(batch["input_ids"])):
        given = {key: value[i : i + 1] for key, value in batch.items() if key in ("input_ids", "attention_mask")}
        node = tree
        while "end" not in node:
            # Of text alone, on three axes where the family has them.
            counted = (given["attention_mask"].cumsum(-1) - 1).clamp(min=0).expand(3, -1, -1)
            with torch.no_grad():
                logits = model(given | {"answer_length": 0, "positions": counted}, 1)[0, -1]
            token = max(node, key=lambda t: logits[t].item())
            node = node[token]
            step = torch.tensor([[token]])
            given["input_ids"] = torch.cat([given["input_ids"], step], 1)
            given["attention_mask"] = torch.cat([given["attention_mask"], torch.ones_like(step)], 1)
        found.append(node["end"])
    return found


def test_constrained_takes_the_likeliest_token_that_goes_on_with_a_label(pair: Pair) -> None:
    model, encoder = pair
    batch = encoder.encode(conversations(""))
    random = np.random.default_rng(0)
    # Of one to five tokens out of few, so that many share a beginning, and each with the end of turn.
    drawn = {tuple(random.integers(40, 44, random.integers(1, 6)).tolist()) for _ in range(40)}
    candidates = [[*tokens, encoder.end] for tokens in sorted(drawn)]
    found = predict.constrained(model, batch, candidates)
    assert found == constrained_by_hand(model, batch, candidates)
    # Some were still undecided after their first token.
    assert any(sum(c[0] == candidates[k][0] for c in candidates) > 1 for k in found)


def test_constrained_writes_what_free_generation_would_where_that_is_a_label(pair: Pair) -> None:
    model, encoder = pair
    batch = encoder.encode(conversations())
    free = [[*ids, encoder.end] for ids in model.generate(batch, 4)]
    others = [encoder.answer_ids(label) for label in EMOTION.labels]
    candidates = [*others, *(ids for i, ids in enumerate(free) if ids not in free[:i] + others)]
    found = predict.constrained(model, batch, candidates)
    # The fifth token is the end of turn, which free generation need not have written.
    for ids, k in zip(free, found, strict=True):
        assert candidates[k][:4] == ids[:4]


def test_only_labels_are_written_and_they_are_read_as_what_they_stand_for(pair: Pair) -> None:
    model, encoder = pair
    batch = encoder.encode(conversations())
    settings = evaluation(readout=Readout.constrained, intensity_readout=IntensityReadout.constrained)
    for prediction in predict.predict(model, encoder, batch, examples(EMOTION), settings):
        assert prediction.exact == prediction.lenient and prediction.exact in EMOTION.labels
        assert prediction.answer == EMOTION.answer(prediction.exact, "en")
        assert (prediction.readout, prediction.outcome, prediction.scores) == ("constrained", "valid", None)
    for prediction in predict.predict(model, encoder, batch, examples(LEVEL), settings):
        assert prediction.exact in LEVEL.grid() and prediction.answer == LEVEL.answer(prediction.exact, "en")
    several = Task(name="several", kind=Kind.multi_label, labels=["joy", "anger", "fear"], question={"en": "Which?"})
    asked = [replace(e, record=replace(e.record, labels={})) for e in examples(several, labelled=False)]
    for prediction in predict.predict(model, encoder, batch, asked, settings):
        assert prediction.exact in predict.possible(several) and prediction.answer == several.answer(
            prediction.exact, "en"
        )
    assert len(predict.possible(several)) == 2**3 and () in predict.possible(several)


# ---------------------------------------------------------------- letters


def lettered(task: Task) -> list[Example]:
    """Examples whose prompts list the labels in three different orders."""
    asked = []
    for i, example in enumerate(examples(task)):
        order = [*task.labels[i:], *task.labels[:i]]
        words = {"en": dict(zip(order, "ABCDE", strict=False))}
        asked.append(replace(example, marked=replace(task, labels=order, words=words)))
    return asked


def test_letters_are_scored_as_the_labels_that_they_stand_for(pair: Pair) -> None:
    model, encoder = pair
    items, asked = conversations(), lettered(EMOTION)
    expected = by_hand(model, encoder, items, [*"ABCDE"])
    found = predict.predict(model, encoder, encoder.encode(items), asked, evaluation())
    for i, prediction in enumerate(found):
        by_letter = dict(zip(asked[i].answered.labels, expected[i].tolist(), strict=True))
        assert list(prediction.scores) == EMOTION.labels
        assert prediction.scores == pytest.approx(by_letter, abs=2e-4)
        assert prediction.exact == prediction.lenient == max(by_letter, key=by_letter.__getitem__)


def test_constrained_letters_stand_for_the_labels_of_their_prompt(pair: Pair) -> None:
    model, encoder = pair
    several = Task(name="several", kind=Kind.multi_label, labels=["joy", "anger", "fear"], question={"en": "Which?"})
    settings = evaluation(readout=Readout.constrained)
    for task in (EMOTION, several):
        asked = [replace(e, record=replace(e.record, labels={})) for e in lettered(task)]
        for example, prediction in zip(
            asked, predict.predict(model, encoder, encoder.encode(conversations()), asked, settings), strict=True
        ):
            assert prediction.answer == example.answered.answer(prediction.exact, "en")
            assert prediction.exact in predict.possible(task)


def test_generated_letters_are_read_as_labels() -> None:
    replies = ["A", "The answer is B.", "joy"]
    for example, label in zip(lettered(EMOTION), ["joy", "not joy at all", "joy"], strict=True):
        prediction = predict._generated(example, replies.pop(0))
        assert prediction.lenient == label and prediction.answer is not None


# ---------------------------------------------------------------- calibration

CLIPS = Sampling(audio=True, video=True, num_frames=2, frame_size=48, max_seconds=5)


def blank(text: str, kinds: str) -> list[dict]:
    parts = [{"type": "video"}] * ("v" in kinds) + [{"type": "audio"}] * ("a" in kinds)
    return [{"role": "user", "content": [*parts, {"type": "text", "text": f"{text}Which emotion?"}]}]


@pytest.mark.parametrize("kinds", ["", "av"])
def test_calibrated_scores_are_without_what_is_said_to_nothing(pair: Pair, kinds: str) -> None:
    model, encoder = pair
    items, texts = conversations(kinds), [EMOTION.answer(label, "en") for label in EMOTION.labels]
    asked = [replace(e, content_free=[blank("N/A ", kinds), blank("", kinds)]) for e in examples(EMOTION)]
    silent = [
        Conversation(
            messages=messages,
            waveform=np.zeros(encoder.sampling_rate, dtype=np.float32) if "a" in kinds else None,
            frames=np.full((2, 48, 48, 3), 127, dtype=np.uint8) if "v" in kinds else None,
            seconds=1.0,
        )
        for messages in asked[0].content_free
    ]
    prior = by_hand(model, encoder, silent, texts).double().softmax(-1).mean(0)
    expected = by_hand(model, encoder, items, texts).double() - prior.log()
    content_free = ContentFree(CLIPS)
    found = predict.predict(
        model,
        encoder,
        encoder.encode(items),
        asked,
        evaluation(calibration=Calibration.contextual),
        content_free=content_free,
    )
    for i, prediction in enumerate(found):
        assert list(prediction.scores.values()) == pytest.approx(expected[i].tolist(), abs=2e-4)
        assert prediction.exact == EMOTION.labels[int(expected[i].argmax())]
        assert prediction.readout == "score(contextual)"
    # With letters, what is taken away from a label is what its own letter gets there.
    marked = [replace(e, content_free=asked[0].content_free) for e in lettered(EMOTION)[1:2] for _ in range(len(items))]
    known = ContentFree(CLIPS)
    [letters, *_] = known.log_priors(
        marked, encoder, lambda batch: predict.score(model, batch, [encoder.answer_ids(a) for a in "ABCDE"]), "cpu"
    )
    by_hand_letters = by_hand(model, encoder, silent, [*"ABCDE"]).double().softmax(-1).mean(0).log()
    order = marked[0].answered.labels
    assert letters.tolist() == pytest.approx(
        [by_hand_letters[order.index(label)].item() for label in EMOTION.labels], abs=2e-4
    )
    shares = content_free.table()["d.emotion"]
    assert list(shares) == EMOTION.labels
    assert list(shares.values()) == pytest.approx(prior.tolist(), abs=1e-4)


def test_a_prompt_without_content_is_put_to_the_model_once(composed: Pair) -> None:
    _, encoder = composed
    asked = [replace(e, content_free=[blank("N/A ", ""), blank("", "")]) for e in examples(EMOTION)]
    rows: list[int] = []

    def scores(batch: dict) -> torch.Tensor:
        rows.append(len(batch["input_ids"]))
        return torch.zeros(len(batch["input_ids"]), 5)

    content_free = ContentFree(CLIPS)
    for _ in range(3):
        assert content_free.log_priors(asked, encoder, scores, "cpu").shape == (3, 5)
    assert sum(rows) == 2
    # With few-shot examples every clip has prompts of its own.
    own = [replace(e, content_free=[blank(f"{i} ", "")]) for i, e in enumerate(asked)]
    content_free.log_priors(own, encoder, scores, "cpu")
    assert sum(rows) == 5


# ---------------------------------------------------------------- output that is not finite


class Breaks:
    """A model whose logits for the second prompt of a batch are `bad`, at every vocabulary entry or at `tokens`."""

    def __init__(self, model: Model, bad: float, tokens: list[int] | None = None, side_by_side: bool = True) -> None:
        self.model, self.bad, self.tokens = model, bad, tokens
        self.takes_branches = side_by_side

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def _broken(self, logits: torch.Tensor, rows: slice = slice(1, 2)) -> torch.Tensor:
        logits = logits.clone()
        logits[rows, ..., slice(None) if self.tokens is None else self.tokens] = self.bad
        return logits

    def prefill(self, batch: dict) -> object:
        prefix = self.model.prefill(batch)
        return replace(prefix, logits=self._broken(prefix.logits))

    def branch(self, *given: object) -> torch.Tensor:
        return self._broken(self.model.branch(*given))

    def generate(self, batch: dict, max_new_tokens: int) -> list:
        return greedy(self, batch, max_new_tokens, self.model.stops)


def check_broken(found: list, sound: list, name: str) -> None:
    """The second prediction of three is an error with the reason, and the others are as without the trouble."""
    assert [p.outcome == "error" for p in found] == [False, True, False]
    assert found[0] == sound[0] and found[2] == sound[2]
    broken = found[1]
    assert broken.exact is broken.lenient is broken.scores is broken.answer is None
    assert "not finite" in broken.error and broken.readout == name and broken.target == sound[1].target


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("side_by_side", [True, False])
def test_a_score_that_is_not_finite_is_an_error_and_never_the_first_label(
    pair: Pair, bad: float, side_by_side: bool
) -> None:
    model, encoder = pair
    batch = encoder.encode(conversations())
    broken = Breaks(model, bad, side_by_side=side_by_side)
    settings = replace(evaluation(), intensity_readout=IntensityReadout.expectation)
    for task, name in ((EMOTION, "score"), (LEVEL, "expectation")):
        sound = predict.predict(Breaks(model, 0.0, [], side_by_side), encoder, batch, examples(task), settings)
        assert all(p.outcome == "valid" for p in sound)
        check_broken(predict.predict(broken, encoder, batch, examples(task), settings), sound, name)


def test_one_label_without_a_finite_score_is_enough(composed: Pair) -> None:
    model, encoder = composed
    batch = encoder.encode(conversations())
    first = encoder.answer_ids("joy")[0]
    found = predict.predict(Breaks(model, float("-inf"), [first]), encoder, batch, examples(EMOTION), evaluation())
    assert [p.outcome for p in found] == ["valid", "error", "valid"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_constrained_and_free_generation_do_not_choose_by_what_is_not_finite(pair: Pair, bad: float) -> None:
    model, encoder = pair
    batch = encoder.encode(conversations())
    for how in (Readout.constrained, Readout.generate):
        settings = evaluation(readout=how, max_new_tokens=5)
        sound = predict.predict(model, encoder, batch, examples(EMOTION), settings)
        found = predict.predict(Breaks(model, bad), encoder, batch, examples(EMOTION), settings)
        check_broken(found, sound, how.value)


def test_words_that_a_vocabulary_rules_out_are_no_trouble(composed: Pair) -> None:
    """Some models give -inf to entries that pad their vocabulary."""
    model, encoder = composed
    batch = encoder.encode(conversations())
    used = {token for label in EMOTION.labels for token in encoder.answer_ids(EMOTION.answer(label, "en"))}
    unused = sorted(set(range(model.prefill(batch).logits.shape[-1])) - used)[:3]
    for how in (Readout.score, Readout.constrained):
        found = predict.predict(
            Breaks(model, float("-inf"), unused), encoder, batch, examples(EMOTION), evaluation(readout=how)
        )
        assert [p.outcome for p in found] == ["valid"] * 3


def test_adjusted_and_calibrated_scores_stay_errors(composed: Pair) -> None:
    model, encoder = composed
    batch = encoder.encode(conversations(""))
    uniform = {"d.emotion": dict.fromkeys(EMOTION.labels, -1.0)}
    broken, settings = Breaks(model, float("nan")), replace(evaluation(), logit_adjustment=1.0)
    found = predict.predict(broken, encoder, batch, examples(EMOTION), settings, uniform)
    assert [p.outcome for p in found] == ["valid", "error", "valid"] and found[1].scores is None

    # In a batch of two prompts without content the second breaks: nothing can be subtracted for any clip.
    asked = [replace(e, content_free=[blank("N/A ", ""), blank("", "")]) for e in examples(EMOTION)]
    settings = replace(evaluation(), calibration=Calibration.contextual)
    known = ContentFree(CLIPS)
    found = predict.predict(broken, encoder, batch, asked, settings, content_free=known)
    assert [p.outcome for p in found] == ["error"] * 3
    assert found[1].error == NOT_FINITE and found[0].error == found[2].error == predict.CALIBRATION_NOT_FINITE
    assert all(p.lenient is None and p.scores is None for p in found)
    # What is written to content_free.json stands on the prompt that gave something.
    assert sum(known.table()["d.emotion"].values()) == pytest.approx(1.0)


def test_an_adjustment_that_overflows_is_an_error(composed: Pair) -> None:
    model, encoder = composed
    [plain, *_] = predict.predict(model, encoder, encoder.encode(conversations("")), examples(EMOTION), evaluation())
    log_prior = dict.fromkeys(EMOTION.labels, -2.0)
    assert predict.adjusted(plain, log_prior, 1.0).outcome == "valid"
    assert predict.adjusted(plain, log_prior, 1e308).outcome == "error"
