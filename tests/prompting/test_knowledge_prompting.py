"""Knowledge, reasons and examples in prompts: their wording (tests/golden), which examples are chosen, what the
controls do to descriptions, what the leak audit finds, and which combinations are refused."""

import json
import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from affect.cli.validate import conflicts
from affect.config import (
    Config,
    ConfigError,
    Control,
    ControlSplit,
    DataError,
    ExampleChoice,
    Kind,
    PromptingConfig,
    Task,
)
from affect.data import Record
from affect.data.part import Part
from affect.knowledge import audit, controls, leak_audit
from affect.knowledge.naming import namings
from affect.prompting import fewshot, token_budget
from affect.prompting import messages as prompts
from affect.prompting.messages import Example

GOLDEN = Path(__file__).parents[1] / "golden"

ENGLISH = Record(
    id="demo/test/7",
    dataset="demo",
    split="test",
    text="Well, that went splendidly.",
    labels={"emotion": "anger"},
    context=("Ann: The boiler broke.", "Ben: Again?"),
    group="test/7",
    knowledge={
        "audio": "The voice is low and flat, with a long pause before the last word.",
        "video": "The speaker looks away and presses the lips together.",
        "audio_video": "A low voice; the speaker looks away.",
    },
)
CHINESE = Record(
    id="sims/test/7",
    dataset="sims",
    split="test",
    text="真是太好了。",
    labels={"sentiment": -0.6},
    group="v7",
    language="zh",
    knowledge={"audio": "声音低沉，语速缓慢。", "video": "说话人移开目光，嘴唇紧闭。"},
)
ENGLISH_SHOTS = (
    replace(ENGLISH, id="demo/train/1", split="train", text="I love it!", labels={"emotion": "joy"}, context=()),
    replace(ENGLISH, id="demo/train/2", split="train", text="It went fine.", labels={"emotion": "neutral"}),
)
CHINESE_SHOTS = (replace(CHINESE, id="sims/train/1", split="train", text="太好了！", labels={"sentiment": 0.8}),)


def count(messages: list[dict]) -> int:
    """A stand-in for a tokenizer: a token a word."""
    texts = [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]
    return sum(len(text.split()) for text in texts)


def text_of(messages: list[dict]) -> str:
    return messages[-1]["content"][-1]["text"]


def page(example: Example) -> str:
    """A prompt with its target, as a golden file has it."""
    lines = []
    for message in example.messages:
        lines.append(f"[{message['role']}]")
        lines += [part["text"] if part["type"] == "text" else f"<{part['type']}>" for part in message["content"]]
    return "\n".join([*lines, "[assistant]", str(example.target), ""])


# ---------------------------------------------------------------- golden prompts

CUES = ("knowledge=cues",)
PAGES = {
    "plain": ("prompting=plain",),
    "knowledge": ("prompting=knowledge", *CUES),
    "knowledge_before": ("prompting=knowledge", *CUES, "prompting.descriptions_position=before"),
    "knowledge_five_words": ("prompting=knowledge", *CUES, "prompting.max_description_words=5"),
    "cot": ("prompting=cot",),
    "fewshot": ("prompting=fewshot",),
    "all_together": ("prompting=knowledge", *CUES, "prompting.fewshot.k=2", "prompting.cot=true"),
}


@pytest.mark.parametrize("name", PAGES)
def test_golden_prompts(name, configure):
    cfg = configure(*PAGES[name], "dataset=[demo,sims]")
    for record, shots in ((ENGLISH, ENGLISH_SHOTS), (CHINESE, CHINESE_SHOTS)):
        task = next(iter(cfg.datasets[record.dataset].task_definitions.values()))
        examples = shots if cfg.prompting.fewshot.k else ()
        prompt = page(token_budget.example(record, task, cfg.prompting, "tav", count, examples))
        file = GOLDEN / f"{name}.{record.language}.txt"
        if os.environ.get("AFFECT_WRITE_GOLDEN") == "1":
            file.write_text(prompt, encoding="utf-8")
        assert prompt == file.read_text(encoding="utf-8"), "set AFFECT_WRITE_GOLDEN=1 where the change is meant"


def test_every_golden_file_is_of_a_prompt_that_is_tested():
    assert sorted(path.name for path in GOLDEN.glob("*.txt")) == sorted(
        f"{n}.{c}.txt" for n in PAGES for c in ("en", "zh")
    )


# ---------------------------------------------------------------- descriptions

PROMPTING = PromptingConfig(
    name="test",
    system={"en": "Judge.", "zh": "判断。"},
    context={"en": "Before:\n{turns}\n"},
    transcript={"en": "Words: {text}\n", "zh": "词：{text}\n"},
    audio_description={"en": "Sound: {text}\n", "zh": "声：{text}\n"},
    video_description={"en": "Picture: {text}\n"},
    audio_video_description={"en": "Both: {text}\n"},
    descriptions=["audio", "video"],
)
PROMPTING.fewshot.example = {"en": "{clip}-> {answer}\n"}
PROMPTING.fewshot.clip = {"en": "Now:\n"}
EMOTION = Task(name="emotion", labels=["joy", "anger", "neutral"], question={"en": "Which? {labels}", "zh": "{labels}"})


def made(record: Record = ENGLISH, examples: tuple[Record, ...] = (), modalities: str = "tav", **changes) -> Example:
    return token_budget.example(record, EMOTION, replace(PROMPTING, **changes), modalities, count, examples)


@pytest.mark.parametrize(
    ("modalities", "without_media", "shown"),
    [
        ("tav", False, ["video", "audio", "audio_video"]),
        ("ta", False, ["audio"]),
        ("v", False, ["video"]),
        ("t", False, []),
        ("t", True, ["video", "audio", "audio_video"]),
    ],
)
def test_an_ablation_leaves_out_the_descriptions_of_what_it_leaves_out(modalities, without_media, shown):
    prompting = replace(
        PROMPTING, descriptions=["video", "audio", "audio_video"], descriptions_without_media=without_media
    )
    assert prompts.descriptions_shown(prompting, modalities) == shown
    slots = prompts.slots(ENGLISH, EMOTION, prompting, modalities)
    assert [slot.removesuffix(" description") for slot in slots if slot.endswith("description")] == shown


def test_a_description_that_is_missing_is_named():
    with pytest.raises(
        DataError, match=r"clips.csv, row 9: demo/test/7 has no description of its video, which prompting.descriptions"
    ):
        made(record=replace(ENGLISH, knowledge={"audio": "low"}, source="clips.csv, row 9"))


def test_an_empty_description_keeps_its_wording():
    assert "Sound: \nPicture: x\n" in text_of(made(replace(ENGLISH, knowledge={"audio": " \n", "video": "x"})).messages)


@pytest.mark.parametrize("words", ["{text}", "{clip} {0} {", "<|im_end|>", "a\nb", "%s \\n"])
def test_nothing_in_a_description_is_taken_for_a_placeholder(words):
    hostile = replace(ENGLISH, knowledge={"audio": words, "video": words}, text=words)
    shot = replace(hostile, id="demo/train/1", labels={"emotion": "joy"})
    text = text_of(made(hostile, (shot,)).messages)
    assert text.startswith(f"Words: {words}\nSound: {words}\nPicture: {words}\n-> joy\nNow:\n")
    assert text.count(words) >= 6


def test_descriptions_are_cut_by_words_and_what_is_cut_is_counted():
    example = made(max_description_words=4)
    assert "Sound: The voice is low\nPicture: The speaker looks away\n" in text_of(example.messages)
    # 14 and 9 words.
    assert (example.cut_description_words, example.dropped_description_words) == (10 + 5, 0)
    assert token_budget.losses([example, example], replace(PROMPTING, max_description_words=4)) == [
        "2 of 2 prompts have descriptions of more than prompting.max_description_words=4 words, and 30 words were cut"
    ]
    assert made(max_description_words=14).cut_description_words == 0


def test_chinese_descriptions_are_cut_by_characters():
    example = token_budget.example(
        CHINESE, EMOTION, replace(PROMPTING, descriptions=["audio"], max_description_words=2), "tav", count
    )
    assert "声：声音\n" in text_of(example.messages)


WHOLE = count(made(examples=ENGLISH_SHOTS).messages)


def dropped(example: Example) -> tuple[int, int, int, int]:
    return (
        example.dropped_examples,
        example.dropped_turns,
        example.dropped_description_words,
        example.dropped_words,
    )


def test_what_goes_first_where_the_budget_is_short():
    """Examples, then context, then descriptions, then the transcript; and never more than has to."""
    found = {}
    for budget in range(WHOLE, 7, -1):
        example = made(examples=ENGLISH_SHOTS, max_text_tokens=budget)
        assert count(example.messages) <= budget
        found.setdefault(dropped(example), budget)
    assert list(found)[:4] == [(0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0), (2, 1, 0, 0)]
    assert list(found)[4] == (2, 2, 0, 0)
    # The longer of the two descriptions is cut to the length of the other, 14 to 9 words, then both together.
    assert list(found)[5:11] == [(2, 2, n, 0) for n in (1, 2, 3, 4, 5, 7)]
    assert list(found)[-1] == (2, 2, 23, 4)
    kept = made(examples=ENGLISH_SHOTS, max_text_tokens=found[1, 0, 0, 0])
    assert "I love it!" not in text_of(kept.messages) and "It went fine." in text_of(kept.messages)
    short = made(max_text_tokens=found[2, 2, 7, 0])
    assert "Sound: The voice is low and flat, with a\n" in text_of(short.messages)


def test_without_its_examples_a_prompt_does_not_announce_the_clip():
    none_left = made(examples=ENGLISH_SHOTS, max_text_tokens=count(made().messages))
    assert none_left.messages == made().messages and none_left.dropped_examples == 2


def test_what_the_budget_took_is_said():
    examples = [made(examples=ENGLISH_SHOTS, max_text_tokens=n) for n in (WHOLE, WHOLE - 1, 30)]
    (sentence,) = token_budget.losses(examples, replace(PROMPTING, max_text_tokens=30))
    lost = [sum(numbers) for numbers in zip(*map(dropped, examples), strict=True)]
    assert lost[0] == 3
    assert sentence == (
        f"2 of 3 prompts were over prompting.max_text_tokens=30 and lost 3 examples, {lost[1]} context turns, {lost[2]}"
        f" words of descriptions and {lost[3]} words of transcript"
    )


def test_a_record_that_waits_for_knowledge_is_a_record_as_before():
    assert Record(id="a", dataset="b", split="test", text="", group="c").knowledge == {}


# ---------------------------------------------------------------- reasons before the answer


def test_the_target_of_reasoning_is_the_marker_and_the_answer():
    example = made(cot=True, cot_instruction={"en": " Why? {marker}"}, answer_marker={"en": "Answer:"})
    assert text_of(example.messages).endswith(" Why? Answer:")
    assert (example.answer, example.marker, example.target) == ("anger", "Answer: ", "Answer: anger")
    assert made().target == "anger" and made().marker == ""
    assert (
        made(replace(ENGLISH, labels={}), cot=True, cot_instruction={"en": ""}, answer_marker={"en": "A:"}).target
        is None
    )


@pytest.mark.parametrize(
    ("text", "marker", "found"),
    [
        ("The joy is played. Answer: anger", "Answer: ", " anger"),
        ("Answer: joy. No, wait.\nANSWER:anger.", "Answer: ", "anger."),
        ("**Answer**: anger", "Answer: ", " anger"),
        ("**Answer:** anger", "Answer: ", " anger"),
        ("理由很多。答案：愤怒", "答案： ", "愤怒"),
        ("理由很多。答案: 愤怒", "答案： ", " 愤怒"),
        ("The answer is anger", "Answer: ", None),
        ("", "Answer: ", None),
        ("anger", "", "anger"),
    ],
)
def test_the_final_answer_stands_after_the_last_marker(text, marker, found):
    assert prompts.final_answer(text, marker) == found


def test_the_final_answer_is_found_in_linear_time():
    assert prompts.final_answer("Answer" + " *_" * 100_000 + "Answer: joy", "Answer:") == " joy"


# ---------------------------------------------------------------- few-shot

SENTENCES = [
    "the dog ran home",
    "a dog barked at the moon",
    "my cat sleeps all day, every day",
    "no! not the dog again",
    "we went home late",
    "the moon was late",
]
POOL = [
    replace(ENGLISH, id=f"demo/train/{i}", split="train", group=f"g{i % 3}", text=text, labels={"emotion": label})
    for i, (text, label) in enumerate(zip(SENTENCES, ["joy", "anger", "joy", "neutral", "anger", "joy"], strict=True))
]


def with_fewshot(**changes) -> PromptingConfig:
    return replace(PROMPTING, fewshot=replace(PROMPTING.fewshot, **changes))


def test_similarity_is_the_cosine_of_tf_idf_as_scikit_learn_has_it():
    vectorizer = TfidfVectorizer(token_pattern=r"\w+")
    rows = vectorizer.fit_transform(SENTENCES)
    texts = [*SENTENCES, "the dog and the purple moon", "nothing alike", ""]
    for text, scores in zip(texts, fewshot.similarities(texts, SENTENCES), strict=True):
        assert scores == pytest.approx((rows @ vectorizer.transform([text]).T).toarray()[:, 0])


def test_a_pool_without_words_is_similar_to_nothing():
    assert [scores.tolist() for scores in fewshot.similarities(["a", "b"], ["", "?!"])] == [[0, 0], [0, 0]]


def test_chinese_is_compared_by_characters_and_pairs():
    [scores] = fewshot.similarities(["天气好"], ["今天天气很好", "我很难过", "明天天气不好"])
    assert scores.argmax() == 0 and scores[1] == 0 and 0 < scores[2] < scores[0]


def test_the_most_similar_examples_are_taken_nearest_last():
    target = replace(ENGLISH, text="the dog ran home late")
    chosen = fewshot.choose([target], POOL, EMOTION, with_fewshot(k=2), "tav")[target.id]
    [scores] = fewshot.similarities([target.text], SENTENCES)
    scores = dict(zip(SENTENCES, scores, strict=True))
    assert [record.text for record in chosen] == sorted(SENTENCES, key=scores.__getitem__)[-2:]


@pytest.mark.parametrize("choice", ExampleChoice)
def test_no_example_is_of_the_clips_own_group(choice):
    targets = [*POOL, replace(ENGLISH, group="another")]
    chosen = fewshot.choose(targets, POOL, EMOTION, with_fewshot(k=4, choice=choice), "tav")
    for target in targets:
        assert len({example.id for example in chosen[target.id]}) == 4
        assert target.group not in {example.group for example in chosen[target.id]}


def test_only_examples_that_have_the_label_are_taken():
    pool = [*POOL[:3], *(replace(record, labels={}) for record in POOL[3:])]
    chosen = fewshot.choose([ENGLISH], pool, EMOTION, with_fewshot(k=3), "tav")[ENGLISH.id]
    assert {example.id for example in chosen} == {record.id for record in POOL[:3]}
    with pytest.raises(
        DataError,
        match=r"^demo/test/7: demo/test/7 has 3 training examples of 'demo.emotion' outside its own group 'test/7',"
        r" fewer than prompting.fewshot.k=4: lower prompting.fewshot.k, or use more training clips$",
    ):
        fewshot.choose([ENGLISH], pool, EMOTION, with_fewshot(k=4), "tav")


def test_the_choice_depends_on_the_seed_and_the_clip_and_not_on_the_order():
    alike = [replace(record, text="the same sentence") for record in POOL]
    targets = [replace(ENGLISH, id=f"demo/test/{i}") for i in range(30)]
    for choice in ExampleChoice:
        prompting = with_fewshot(k=2, choice=choice)
        first = fewshot.choose(targets, alike, EMOTION, prompting, "tav")
        assert first == fewshot.choose(targets[::-1], alike[::-1], EMOTION, prompting, "tav")
        assert first != fewshot.choose(targets, alike, EMOTION, with_fewshot(k=2, choice=choice, seed=1), "tav")
        used = Counter(example.id for examples in first.values() for example in examples)
        assert len(used) == len(POOL), "ties always go to the same examples"


def test_without_transcripts_the_descriptions_are_compared():
    pool = [replace(r, knowledge={"audio": t, "video": ""}) for r, t in zip(POOL, SENTENCES[::-1], strict=True)]
    target = replace(ENGLISH, text=SENTENCES[0], knowledge={"audio": SENTENCES[0], "video": ""}, group="other")
    prompting = with_fewshot(k=1)
    assert fewshot.choose([target], pool, EMOTION, prompting, "av")[target.id][0].id == "demo/train/5"
    assert fewshot.choose([target], pool, EMOTION, prompting, "tav")[target.id][0].id == "demo/train/0"


def parts_of(*records: Record) -> list[Part]:
    splits = dict.fromkeys((record.dataset, record.split) for record in records)
    return [
        Part(
            dataset=dataset,
            split=split,
            expected=0,
            outside_subset=0,
            records=[record for record in records if (record.dataset, record.split) == (dataset, split)],
        )
        for dataset, split in splits
    ]


def test_examples_come_from_the_training_split_of_the_same_dataset(configure):
    cfg = configure("prompting=fewshot", "dataset=[demo]", "prompting.fewshot.k=2")
    other = [replace(r, id=r.id.replace("demo", "meld"), dataset="meld", text=ENGLISH.text) for r in POOL]
    val = [replace(ENGLISH, id=f"demo/val/{i}", split="val", group=f"v{i}") for i in range(4)]
    chosen = fewshot.for_split(parts_of(*other, *POOL, *val, ENGLISH)[1:], "test", cfg)
    assert list(chosen) == [(ENGLISH.id, "emotion")]
    assert all(e.split == "train" and e.dataset == "demo" for e in chosen[ENGLISH.id, "emotion"])
    none = fewshot.for_split(parts_of(*POOL, ENGLISH), "test", configure("dataset=[demo]"))
    assert none == {(ENGLISH.id, "emotion"): ()}


# ---------------------------------------------------------------- controls

NUMBERED = [
    replace(ENGLISH, id=f"demo/test/{i}", knowledge={"audio": f"sound {i}", "video": f"picture {i}"}) for i in range(25)
]


def test_shuffled_gives_every_clip_all_descriptions_of_another():
    for seed in range(20):
        shuffled = controls.controlled(NUMBERED, [EMOTION], Control.shuffled, seed)
        assert [record.id for record in shuffled] == [record.id for record in NUMBERED]
        givers = [record.knowledge["audio"].split()[1] for record in shuffled]
        assert givers == [record.knowledge["video"].split()[1] for record in shuffled], "sound and picture parted"
        assert sorted(givers, key=int) == [str(i) for i in range(25)]
        assert all(giver != str(i) for i, giver in enumerate(givers)), "a clip kept its own"
    again = controls.controlled(NUMBERED[::-1], [EMOTION], Control.shuffled, 19)
    assert again[::-1] == shuffled, "the order of the records matters"
    assert controls.controlled(NUMBERED, [EMOTION], Control.shuffled, 0) != shuffled


def test_a_clip_without_another_cannot_be_shuffled():
    bare = replace(ENGLISH, id="demo/test/99", knowledge={})
    with pytest.raises(
        DataError,
        match=r"demo/test/0 is the only clip of its split with descriptions of audio and video, and"
        " knowledge.control=shuffled needs another one: use more clips, or another control",
    ):
        controls.controlled([NUMBERED[0], bare], [EMOTION], Control.shuffled, 0)
    assert controls.controlled([*NUMBERED[:2], bare], [EMOTION], Control.shuffled, 0)[2] is bare


def test_empty_leaves_the_wording_alone():
    (record,) = controls.controlled([ENGLISH], [EMOTION], Control.empty, 0)
    assert record.knowledge == {"audio": "", "video": "", "audio_video": ""}
    assert text_of(made(record).messages).count(": \n") == 2


def test_mismatched_modality_exchanges_sound_and_picture():
    (record,) = controls.controlled([ENGLISH], [EMOTION], Control.mismatched_modality, 0)
    assert (record.knowledge["audio"], record.knowledge["video"]) == (
        ENGLISH.knowledge["video"],
        ENGLISH.knowledge["audio"],
    )
    assert record.knowledge["audio_video"] == ENGLISH.knowledge["audio_video"]
    with pytest.raises(DataError, match=r"demo/test/7 has a description of its audio only, and knowledge.control=mism"):
        controls.controlled([replace(ENGLISH, knowledge={"audio": "x"})], [EMOTION], Control.mismatched_modality, 0)


@pytest.mark.parametrize(
    ("text", "masked", "times"),
    [
        ("An angry, FURIOUS voice; no joyful tone", "An ___, ___ voice; no ___ tone", 3),
        ("hangry madness enjoys joystick", "hangry madness enjoys joystick", 0),
        ("the mood is neutral-sounding", "the mood is ___-sounding", 1),
        ("声音听起来很愤怒，不高兴", "声音听起来很___，不___", 2),
        ("voice 愤怒angry愤怒", "voice _________", 3),
        ("", "", 0),
    ],
)
def test_label_words_and_their_synonyms_are_masked(text, masked, times):
    assert controls.mask(text, [EMOTION]) == (masked, times)


def test_a_word_of_one_label_is_no_synonym_of_another():
    task = Task(name="emotion", labels=["happy", "glad", "calm", "neutral"], words={"zh": {"neutral": "平静"}})
    words = controls.words_by_label(task)
    assert "glad" not in words["happy"] and "happy" not in words["glad"] and "joyful" in words["happy"] & words["glad"]
    assert "平静" in words["neutral"] and "平静" not in words["calm"] and "serene" in words["calm"]
    assert not any("sad" in of_label for of_label in words.values())


def test_a_label_that_is_a_number_masks_no_number():
    task = Task(name="humour", labels=["0", "1"], words={"en": {"0": "serious", "1": "funny"}})
    assert controls.mask("0 to 1 pauses in a funny line", [task])[0] == "0 to 1 pauses in a ___ line"


def test_a_longer_word_goes_before_a_shorter_one():
    task = Task(name="s", labels=["sad", "happy"])
    [naming] = namings("她不高兴", controls.vocabulary(task))
    assert naming.word == "不高兴" and naming.word in controls.words_by_label(task)["sad"]


def test_an_intensity_has_its_polarities_masked():
    task = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, step=1)
    assert controls.mask("a positive, upbeat tone", [task])[0] == "a ___, ___ tone"


def labels_of_shipped_datasets() -> list[tuple[str, str, Task]]:
    from omegaconf import OmegaConf

    folder = Path(__file__).parents[2] / "conf" / "dataset"
    found = []
    for path in sorted(folder.glob("*.yaml")):
        for name, plain in OmegaConf.load(path).task_definitions.items():
            words = OmegaConf.to_container(plain.words) if "words" in plain else {}
            task = Task(name=str(name), labels=list(plain.get("labels", [])), words=words)
            found += [(path.stem, label, task) for label in task.labels]
    return found


def test_every_label_of_a_shipped_dataset_has_synonyms():
    found = labels_of_shipped_datasets()
    assert len(found) > 80
    # Intents that are a word of their own still need their forms; "ask for help" and the like are phrases.
    lonely = {(dataset, label) for dataset, label, task in found if len(controls.words_by_label(task)[label]) < 3}
    assert not lonely


def test_a_control_of_the_test_split_leaves_training_alone(configure):
    cfg = configure("prompting=knowledge", *CUES, "dataset=[demo]", "knowledge.control=masked")
    angry = {"audio": "an angry voice", "video": "a happy, happy face"}
    records = [
        replace(ENGLISH, id=f"demo/{split}/{i}", split=split, knowledge=angry)
        for split in ("train", "test")
        for i in (0, 1)
    ]
    parts = parts_of(*records)
    assert controls.control(parts, cfg) == {"clips": 4, "masked_words": 12}
    assert {r.knowledge["audio"] for part in parts for r in part.records} == {"an ___ voice"}
    cfg.knowledge.control_split = ControlSplit.test
    parts = parts_of(*records)
    assert controls.control(parts, cfg) == {"clips": 2, "masked_words": 6}
    assert [part.records[0].knowledge["audio"] for part in parts] == ["an angry voice", "an ___ voice"]
    cfg.knowledge.control = Control.none
    assert controls.control(parts, cfg) == {"clips": 0, "masked_words": 0}


# ---------------------------------------------------------------- the leak audit


NOISE = [f"word{i}" for i in range(40)]
LABELS = ["joy", "anger", "neutral"]


def audited(tell: dict[str, str] | None, share: float = 1.0, groups: int = 60, size: int = 4, own_word: bool = False):
    """The audit of clips of which `share` have a description with `tell[label]` among noise; with own_word, every group
    has one label and a word of its own."""
    draw = random.Random(0)
    records, texts = [], {}
    for i in range(groups * size):
        label = LABELS[(i // size) % 3] if own_word else LABELS[draw.randrange(3)]
        words = [*draw.choices(NOISE, k=12), *([f"scene{i // size}"] if own_word else [])]
        if tell is not None and draw.random() < share:
            words.append(tell[label])
        record = replace(ENGLISH, id=f"demo/train/{i}", group=f"g{i // size}", labels={"emotion": label})
        records.append(record)
        texts[record.id] = {"audio": " ".join(words), "video": " ".join(draw.choices(NOISE, k=5))}
    return leak_audit.audit_task(records, texts, EMOTION)


def test_descriptions_that_say_nothing_predict_nothing():
    found = audited(None)["descriptions"]
    assert found["audio"]["predicted"]["uar"] == pytest.approx(1 / 3, abs=0.09)
    assert found["audio"]["named"] == {"gold": 0, "both": 0, "other": 0, "none": 1, "label_word": 0}
    assert found["audio"]["masked"] == found["audio"]["predicted"]


def test_a_named_label_is_found_and_masking_takes_it_away():
    found = audited({"joy": "joyful", "anger": "angry", "neutral": "neutral"}, share=0.5)["descriptions"]
    audio = found["audio"]
    assert audio["named"]["gold"] == pytest.approx(0.5, abs=0.1) and audio["named"]["other"] == 0
    # Of the three words that are there only "neutral" is a label itself.
    assert audio["named"]["label_word"] == pytest.approx(0.5 / 3, abs=0.06)
    assert audio["by_named"]["gold"]["accuracy"] > 0.9 > 0.5 > audio["by_named"]["none"]["accuracy"]
    assert audio["by_named"]["gold"]["clips"] + audio["by_named"]["none"]["clips"] == 240
    assert audio["predicted"]["uar"] > 0.55 and audio["masked"]["uar"] < 0.45
    assert found["video"]["predicted"]["uar"] < 0.45 < found["all"]["predicted"]["uar"]


def test_a_wrong_label_counts_as_another():
    found = audited({"joy": "angry", "anger": "joyful", "neutral": "angry and neutral"})
    named = found["descriptions"]["audio"]["named"]
    assert named["gold"] == 0 and named["other"] == pytest.approx(2 / 3, abs=0.1)
    assert named["both"] == pytest.approx(1 / 3, abs=0.1)


def test_cues_without_label_words_are_found_too():
    audio = audited({"joy": "high", "anger": "loud", "neutral": "flat"})["descriptions"]["audio"]
    assert audio["named"]["none"] == 1 and audio["predicted"]["uar"] > 0.95 and audio["masked"]["uar"] > 0.95


def test_what_tells_only_the_group_is_not_counted():
    assert audited(None, own_word=True)["descriptions"]["audio"]["predicted"]["uar"] < 0.45


def test_a_single_group_predicts_nothing_and_that_is_said():
    found = audited(None, groups=1, size=30)
    assert found["baseline"] is None and found["descriptions"]["audio"]["predicted"] is None
    (sentence, *_) = leak_audit.in_words({"demo.emotion": found})
    assert sentence.endswith("; all clips are of one group, so no label is predicted from them")


def test_an_intensity_is_audited_by_its_error():
    task = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, step=0.5)
    draw = random.Random(0)
    records, texts = [], {}
    for i in range(120):
        value = draw.choice([-2.0, 0.0, 2.0])
        records.append(replace(ENGLISH, id=str(i), group=str(i // 2), labels={"sentiment": value}))
        texts[str(i)] = {
            "audio": " ".join([*draw.choices(NOISE, k=5), {-2.0: "negative", 0.0: "x", 2.0: "upbeat"}[value]])
        }
    found = leak_audit.audit_task(records, texts, task)
    audio = found["descriptions"]["audio"]
    assert list(found["descriptions"]) == ["audio"], "one kind of description alone is not shown twice"
    assert audio["predicted"]["mae"] < 0.7 < 1.2 < found["baseline"]["mae"]
    assert audio["predicted"]["pearson"] > 0.9 and found["baseline"]["pearson"] is None
    assert audio["masked"]["mae"] > audio["predicted"]["mae"]
    assert audio["named"]["gold"] == pytest.approx(2 / 3, abs=0.1) and audio["named"]["other"] == 0
    assert set(audio["by_named"]["gold"]) == {"clips", "mae"}


def test_several_labels_are_audited_together():
    task = Task(name="several", kind=Kind.multi_label, labels=["joy", "anger"])
    draw = random.Random(0)
    records, texts = [], {}
    for i in range(120):
        value = tuple(sorted(label for label in task.labels if draw.random() < 0.5))
        records.append(replace(ENGLISH, id=str(i), group=str(i // 2), labels={"several": value}))
        texts[str(i)] = {"audio": " ".join([*draw.choices(NOISE, k=3), *value])}
    found = leak_audit.audit_task(records, texts, task)
    audio = found["descriptions"]["audio"]
    assert audio["predicted"]["macro_f1"] > 0.95 and audio["named"]["other"] == audio["named"]["both"] == 0
    assert audio["masked"]["macro_f1"] < 0.75


def test_the_audit_of_a_run_is_json_and_looks_at_what_is_shown(configure):
    cfg = configure("prompting=knowledge", *CUES, "dataset=[demo]", "prompting.max_description_words=2")
    records = [
        replace(
            ENGLISH,
            id=f"demo/{split}/{i}",
            split=split,
            group=f"{split}{i}",
            labels={"emotion": label},
            knowledge={"audio": f"so {label} beyond", "video": "a face joy", "audio_video": "never shown"},
        )
        for split in ("train", "test")
        for i, label in enumerate(["joy", "anger", "neutral"] * 4)
    ]
    found = leak_audit.audit(parts_of(*records, replace(ENGLISH, id="demo/test/99", labels={})), cfg)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    told = found["demo.emotion"]
    assert (told["clips"], told["of_clips"], told["groups"], told["folds"]) == (24, 24, 24, 5)
    assert list(told["descriptions"]) == ["audio", "video", "all"]
    assert told["descriptions"]["audio"]["predicted"]["uar"] == 1
    assert told["descriptions"]["video"]["named"]["none"] == 1, "words beyond max_description_words are audited"
    assert leak_audit.in_words(found)[0] == (
        "demo.emotion, audio descriptions: 100.0% name a label or a synonym (100.0% only the right one, 0.0% only wrong"
        " ones); a bag of words of them alone reaches uar 1.000, with label words masked"
        f" {told['descriptions']['audio']['masked']['uar']:.3f}, a constant answer {told['baseline']['uar']:.3f}"
    )
    assert leak_audit.audit(parts_of(*records), configure("dataset=[demo]")) == {}


def test_the_audit_takes_whole_groups_up_to_its_size(monkeypatch):
    monkeypatch.setattr(leak_audit, "MAX_CLIPS", 50)
    found = audited(None, groups=30, size=4)
    assert (found["clips"], found["of_clips"], found["groups"]) == (48, 120, 12)


# ---------------------------------------------------------------- cost


def test_the_cost_of_knowledge_is_what_prompts_are_shorter_without_it():
    examples = [made(), made(replace(ENGLISH, id="demo/test/8", knowledge={"audio": "a", "video": "b"}))]
    found = audit.cost(examples, count, {ENGLISH.id: 1.5, "demo/test/unused": 9.0})
    # 14 + 9 words and 1 + 1, each behind a word of wording.
    assert (found["tokens_per_prompt"], found["most_tokens"]) == ((25 + 4) / 2, 25)
    assert (found["clips_with_seconds"], found["seconds_per_clip"]) == (1, 1.5)
    assert found["share_of_text_tokens"] == pytest.approx(
        np.mean([25 / count(examples[0].messages), 4 / count(examples[1].messages)])
    )
    plain = audit.cost([made(descriptions=[])], count, {})
    assert (plain["tokens_per_prompt"], plain["seconds_per_clip"]) == (0, None)


# ---------------------------------------------------------------- refusals

KNOWLEDGE = ("prompting=knowledge", *CUES)
REFUSED = [
    (
        [*KNOWLEDGE, "prompting.descriptions=[adio]"],
        r"prompting.descriptions names 'adio', which cannot be described, did you mean 'audio'\? Choose from audio,",
    ),
    ([*KNOWLEDGE, "prompting.descriptions=[audio,audio]"], r"=\[audio,audio\] names one twice: name each once"),
    (
        [*KNOWLEDGE, "modalities=t"],
        r"prompting.descriptions=\[audio,video\] shows nothing, since modalities=t leaves out what they describe: set"
        " prompting.descriptions_without_media=true",
    ),
    (
        [*KNOWLEDGE, "modalities=ta", "knowledge.control=mismatched_modality"],
        "with modalities=ta the prompt shows audio: set prompting.descriptions=",
    ),
    (
        [*KNOWLEDGE, "prompting.max_description_words=0"],
        "max_description_words=0 has to be at least 1, or null",
    ),
    (
        [*KNOWLEDGE, "prompting.video_description.en=Nothing"],
        r"prompting.video_description.en lacks its placeholder \{text\}",
    ),
    (["prompting.fewshot.k=-1"], "prompting.fewshot.k=-1 must not be below 0"),
    (
        ["prompting.fewshot.k=3", "evaluation.split=train"],
        "but evaluation.split=train is that split: evaluate on another",
    ),
    (
        ["prompting.fewshot.k=3", "modalities=av"],
        "modalities=av leaves their transcripts out and no description is shown",
    ),
    (["prompting.fewshot.example.en='{clip}'"], r"prompting.fewshot.example.en lacks its placeholder \{answer\}"),
    (["prompting.fewshot.example.en='{word}'"], r"has a placeholder that is not \{clip\} or \{answer\}: 'word'"),
    (["prompting.answer_marker.en=':'"], "prompting.answer_marker.en=':' has no word that marks the final answer"),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSED)
def test_what_does_not_go_together_is_refused(words, sentence, configure):
    with pytest.raises(ConfigError, match=sentence):
        configure(*words)


def test_wording_that_is_used_is_there_in_the_language_of_the_data(configure):
    cfg = configure(*KNOWLEDGE, "modalities=ta", "prompting.fewshot.k=1", "prompting.cot=true")
    prompting = cfg.prompting
    prompting.audio_description = prompting.video_description = prompting.fewshot.clip = prompting.answer_marker = {}
    missing = ("audio_description", "answer_marker", "fewshot.clip")
    assert [sentence for sentence in conflicts(cfg, "train") if " in language " in sentence] == [
        f"dataset=demo is in language 'en', but prompting=knowledge has no {key} in it: add prompting.{key}.en"
        for key in missing
    ], "what is not shown needs no wording"


ZERO_SHOT_COT = [
    ([], "but evaluation.readout=score takes the answer before any are written: set evaluation.readout=generate and"),
    (
        ["evaluation=generate", "datasets.demo.tasks=[sentiment]", "evaluation.intensity_readout=expectation"],
        "but evaluation.intensity_readout=expectation takes the answer before any are written",
    ),
    (["evaluation=generate"], "but evaluation.max_new_tokens=8 ends before both are written: set evaluation.max_new_"),
]


@pytest.mark.parametrize(("words", "sentence"), ZERO_SHOT_COT)
def test_reasons_need_room_where_nothing_was_learnt(words, sentence, configure):
    words = ["prompting=cot", "modalities=t", *words]
    with pytest.raises(ConfigError, match=sentence):
        configure(*words, program="evaluate")
    # A fine-tuned model answers at once, and what it has learnt to say can be scored.
    assert configure(*words).prompting.cot


def test_all_of_them_can_be_combined(configure):
    cfg: Config = configure(
        *KNOWLEDGE, "prompting.fewshot.k=3", "prompting.cot=true", "prompting.max_description_words=9"
    )
    assert (cfg.prompting.name, cfg.prompting.fewshot.k, cfg.prompting.cot) == ("knowledge", 3, True)
    text_alone = configure(*KNOWLEDGE, "modalities=t", "prompting.descriptions_without_media=true")
    assert prompts.descriptions_shown(text_alone.prompting, "t") == ["audio", "video"]
    # Programs that build no prompt do not care.
    assert configure("prompting.fewshot.k=3", "evaluation.split=train", program="doctor").prompting.fewshot.k == 3


# ---------------------------------------------------------------- affect.cli.show


def test_every_part_of_a_prompt_is_counted(configure, tmp_path):
    from tiny_models import tiny_words

    from affect import models
    from affect.cli.show import token_counts

    cfg = configure(
        *KNOWLEDGE,
        "dataset=[demo]",
        "modalities=t",
        "prompting.descriptions_without_media=true",
        "prompting.fewshot.k=2",
        *tiny_words(tmp_path),
        program="show",
    )
    _, encoder = models.load(cfg.model, modalities="t", cache_root=tmp_path)
    task = cfg.datasets["demo"].task_definitions["emotion"]
    example = token_budget.example(ENGLISH, task, cfg.prompting, "t", encoder.count_text, ENGLISH_SHOTS)
    counts = token_counts(example, cfg, encoder)
    whole = counts.pop("sum")
    assert whole == sum(counts.values()) == encoder.count_text(example.messages) + len(encoder.answer_ids("anger"))
    described = {name: count for name, count in counts.items() if name.endswith(" description")}
    assert list(described) == ["audio description", "video description"] and min(described.values()) > 5
    assert counts["example 1"] > sum(described.values()), "an example has its own descriptions"
