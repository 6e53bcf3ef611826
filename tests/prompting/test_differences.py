"""What differs between prompts: without a modality its own parts, and nothing else."""

from dataclasses import replace

import pytest

from affect.config.groups import choices
from affect.data import Record
from affect.prompting import fewshot, token_budget
from affect.prompting.differences import differences, parts

KNOWLEDGE = {"audio": "a low voice", "video": "a frown", "audio_video": "a low voice and a frown"}
RECORD = Record(
    id="demo/test/1",
    dataset="demo",
    split="test",
    text="Oh no, not again",
    labels={"emotion": "anger"},
    context=("Ross: Hi",),
    group="test",
    knowledge=KNOWLEDGE,
)
POOL = [
    replace(RECORD, id=f"demo/train/{n}", split="train", group=f"g{n}", text=f"shot {n}", labels={"emotion": "joy"})
    for n in range(6)
]
OWN = {
    "t": {"context", "transcript"},
    "a": {"audio", "audio description", "audio_video description"},
    "v": {"video", "video description", "audio_video description"},
}
"""The parts of each modality."""


def example(cfg, modalities: str, language: str):
    record, pool = replace(RECORD, language=language), [replace(one, language=language) for one in POOL]
    task = cfg.datasets["demo"].task_definitions["emotion"]
    task = replace(task, question=task.question | {"zh": "哪种情感？{labels}"})
    # The same examples for every subset: which are the most similar depends on what is compared.
    shots = fewshot.choose([record], pool, task, cfg.prompting, "tav")[record.id]
    return token_budget.example(record, task, cfg.prompting, modalities, lambda turns: 0, shots)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("prompting", choices("prompting"))
def test_without_a_modality_its_parts_alone_are_not_there(configure, prompting, language):
    cfg = configure("experiment=demo", f"prompting={prompting}", *(["knowledge=cues"] * (prompting == "knowledge")))
    if prompting == "knowledge":
        cfg.prompting.descriptions = ["audio", "video", "audio_video"]
    for modalities in ("tav", "ta", "tv", "av"):
        whole = example(cfg, modalities, language)
        assert {"system turn", "question"} <= parts(whole).keys()
        for letter in modalities:
            left = example(cfg, modalities.replace(letter, ""), language)
            found = differences(whole, left)
            shots = {name for name in found if name.startswith("example")}
            assert found and found.keys() - shots <= OWN[letter], (modalities, letter)
            assert {"t": "transcript", "a": "audio", "v": "video"}[letter] in found
            assert all(there is None for name, (_, there) in found.items() if name not in shots)
            # An example is a transcript with its answer: without text its transcript alone goes.
            assert bool(shots) == (letter == "t" and cfg.prompting.fewshot.k > 0)
            for name in shots:
                here, there = found[name]
                wording = cfg.prompting.transcript[language]
                assert there in {here.replace(wording.format(text=one.text), "") for one in POOL}
            # What stays, stays in its order.
            assert [name for name in parts(whole) if name in parts(left)] == list(parts(left))


def test_the_text_of_a_prompt_is_that_of_its_parts(configure):
    made = example(configure("experiment=demo", "prompting=fewshot"), "tav", "en")
    media = {"audio": "<audio>", "video": "<video>", "system turn": made.messages[0]["content"][0]["text"]}
    assert media.items() <= parts(made).items()
    user = "".join(text for name, text in parts(made).items() if name not in media)
    assert user == made.messages[-1]["content"][-1]["text"]


def test_settings_differ_in_what_is_worded_otherwise(configure):
    plain = example(configure("experiment=demo"), "ta", "en")
    changed = replace(plain, task=replace(plain.task, labels=["joy", "fear"]))
    assert differences(plain, changed) == {}, "what is shown counts, not what it was made from"
    cot = example(configure("experiment=demo", "prompting=cot"), "ta", "en")
    [(name, (here, there))] = differences(plain, cot).items()
    assert (name, here) == ("reasoning", None) and "First give your reasons" in there
