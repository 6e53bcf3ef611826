"""Common label spaces: the declared maps, what has no image, and what is refused."""

import csv
import doctest
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from affect.config import Config, ConfigError, DataError, Kind, LabelMapConfig, Task, label_maps
from affect.config.groups import CONF, choices
from affect.data import loading

Configure = Callable[..., Config]
THREE = ("dataset=[meld,demo,ravdess]", "modalities=t", "model=tfidf")
MELD = ("dataset=[meld]", "modalities=t", "model=tfidf")
EMOTIONS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")


@pytest.fixture(scope="module")
def meld(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MELD with fourteen utterances a split, two of every emotion, one of which has another one's sentiment."""
    root = tmp_path_factory.mktemp("data")
    (root / "meld").mkdir()
    for name in ("train", "dev", "test"):
        with open(root / "meld" / f"{name}_sent_emo.csv", "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"))
            for i, emotion in enumerate(EMOTIONS * 2):
                sentiment = ("neutral", "positive", "negative")[i % 3]
                rows.writerow((i + 1, f"What number {i}?", "Monica", emotion, sentiment, i, 0))
    return root


def test_every_declared_map_is_of_a_shipped_task() -> None:
    tasks = [
        OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Task), task))
        for name in choices("dataset")
        for task in OmegaConf.load(CONF / "dataset" / f"{name}.yaml").task_definitions.values()
    ]
    assert len(tasks) > 15
    maps = label_maps.declared()
    assert len(maps.maps) > 15
    for name, each in maps.maps.items():
        assert any(each.is_of(task) for task in tasks), name
        assert each.why, name
        assert len(set(each.labels.values()) - {None}) > 1, name


@pytest.mark.parametrize("space", label_maps.declared().spaces)
def test_a_dataset_gets_the_one_task_of_the_space(configure: Configure, space: str) -> None:
    if space == "seven_emotions":  # the demo corpus has no fear
        with pytest.raises(ConfigError, match=r"no map to them is declared for task 'emotion' of dataset=demo"):
            configure(*THREE, f"label_space={space}")
        return
    cfg = configure(*THREE, f"label_space={space}")
    tasks = []
    for config in cfg.datasets.values():
        assert config.tasks == [space] and config.label_map.task == "emotion"
        assert list(config.label_map.to) == config.task_definitions["emotion"].labels
        tasks.append(config.task_definitions[space])
    assert tasks[0] == tasks[1] == tasks[2]
    assert tasks[0] is not tasks[1]  # a change of one dataset is not one of another


def test_a_settled_configuration_stays_as_it_is(configure: Configure) -> None:
    cfg = configure(*MELD, "label_space=polarity")
    before = repr(cfg)
    cfg.label_maps = "/the/file/is/not/needed/any/more.yaml"
    label_maps.settle(cfg)
    assert repr(cfg).replace(f"label_maps='{cfg.label_maps}'", "label_maps=None") == before


def test_clips_without_an_image_are_excluded_and_counted(configure: Configure, meld: Path) -> None:
    cfg = configure(*MELD, "label_space=four_emotions", f"data_root={meld}")
    [part] = loading.read(cfg, ["test"])
    assert (part.expected, len(part.records), part.num_excluded) == (14, 8, 6)
    assert Counter(record.labels["four_emotions"] for record in part.records) == dict.fromkeys(
        ("neutral", "happy", "sad", "angry"), 2
    )
    assert {record.labels["emotion"]: record.labels["four_emotions"] for record in part.records}["joy"] == "happy"
    assert part.account()["reasons"] == {
        f"emotion '{emotion}' has no image in label_space=four_emotions": 2
        for emotion in ("surprise", "fear", "disgust")
    }


def test_a_subset_is_drawn_of_what_has_an_image(configure: Configure, meld: Path) -> None:
    words = (*MELD, "label_space=four_emotions", f"data_root={meld}")
    [part] = loading.read(configure(*words, "datasets.meld.subset.test=4"), ["test"])
    assert len({record.labels["four_emotions"] for record in part.records}) == 4
    assert (part.expected, part.num_excluded, part.outside_subset) == (14, 6, 4)


def test_a_map_given_by_key_changes_the_declared_one(configure: Configure, meld: Path) -> None:
    words = (*MELD, "label_space=four_emotions", f"data_root={meld}")
    [part] = loading.read(configure(*words, "+datasets.meld.label_map.to={disgust:angry,joy:null}"), ["test"])
    assert Counter(record.labels["four_emotions"] for record in part.records) == {"neutral": 2, "sad": 2, "angry": 4}


def test_a_dataset_with_the_labels_of_the_space_needs_no_map(configure: Configure) -> None:
    cfg = configure("dataset=[iemocap]", "modalities=t", "model=tfidf", "label_space=four_emotions")
    assert set(cfg.datasets["iemocap"].label_map.to.items()) == {(x, x) for x in ("neutral", "happy", "sad", "angry")}


def test_an_intensity_goes_by_its_sign(configure: Configure) -> None:
    assert doctest.testmod(label_maps).attempted > 0 and doctest.testmod(label_maps).failed == 0
    cfg = configure("dataset=[mosi,sims]", "modalities=t", "model=tfidf", "label_space=polarity")
    mosi, sims = cfg.datasets["mosi"], cfg.datasets["sims"]
    for config, values in ((mosi, (-0.2, 0.0, 0.2)), (sims, (-0.2, 0.1, 0.2))):
        task = config.task_definitions["sentiment"]
        assert [label_maps.image(value, task, config.label_map) for value in values] == list(label_maps.SIGNS)
    binary = configure("dataset=[mosi]", "modalities=t", "model=tfidf", "label_space=binary_polarity").datasets["mosi"]
    assert label_maps.image(0.0, binary.task_definitions["sentiment"], binary.label_map) is None
    own = [f"+datasets.demo.label_map.to.{sign}={sign}" for sign in label_maps.SIGNS]
    range_of_two = ("datasets.demo.tasks=[sentiment]", "datasets.demo.task_definitions.sentiment.low=-2")
    demo = configure("dataset=[demo]", "modalities=t", "model=tfidf", "label_space=polarity", *range_of_two, *own)
    assert demo.datasets["demo"].label_map.neutral == [0.5, 0.5]  # the middle


def test_a_split_without_any_image_is_refused(configure: Configure, meld: Path) -> None:
    cfg = configure(*MELD, "label_space=polarity", f"data_root={meld}")
    config = cfg.datasets["meld"]
    config.label_map.to = dict.fromkeys(config.label_map.to)
    with pytest.raises(
        DataError, match=r"no clip in split 'test' whose label has an image .*meld/test/0/0.* 'neutral'"
    ):
        loading.read(cfg, ["test"])


OWN = """
spaces:
  arousal:
    labels: [low, high]
    question: {en: "How aroused is the speaker, {labels}?"}
maps:
  mine:
    to: arousal
    labels: {neutral: low, calm: low, happy: high, sad: low, angry: high, fearful: high, disgust: null%s}
"""


def test_a_file_of_ones_own(configure: Configure, tmp_path: Path) -> None:
    file = tmp_path / "maps.yaml"
    words = ("dataset=[ravdess]", "modalities=t", "model=tfidf", "label_space=arousal", f"label_maps={file}")
    file.write_text(OWN % ", surprised: high")
    assert configure(*words).datasets["ravdess"].label_map.to["sad"] == "low"
    file.write_text(OWN % "")
    with pytest.raises(ConfigError, match="the nearest map, mine, lacks surprised"):
        configure(*words)
    for content, why in (
        (OWN % ", surprised: hihg", "maps.mine: it maps 'surprised' to 'hihg', but label_space=arousal has low, high"),
        ((OWN % "").replace("to: arousal", "to: arousel"), "maps.mine: to=arousel is no space, did you mean 'arousal'"),
        (OWN.replace("  arousal:", "  polarity:") % "", "spaces.polarity is a space that affect declares"),
        (OWN.replace("labels: [low, high]", "labels: [low]") % "", "has a single label"),
        (OWN.replace("labels: [low, high]", "kind: intensity") % "", "a common space is a classification"),
        ("map: {}", "has map, which is neither `spaces` nor `maps`"),
        ("maps: {mine: {labels: {a: b}}}", "maps.mine: it lacks to"),
        ("maps: [", "cannot be read as label maps"),
    ):
        file.write_text(content)
        with pytest.raises(ConfigError, match=re.escape(str(file))) as refused:
            configure(*words)
        assert why in str(refused.value)
    file.unlink()
    with pytest.raises(ConfigError, match=r"does not exist: name a file in the form of label_maps\.yaml"):
        configure(*words)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["label_space=four_emotion"], "label_space=four_emotion is not declared, did you mean 'four_emotions'?"),
        (["+datasets.ravdess.label_map.to.calm=sad"], "datasets.ravdess.label_map is about a common label space, and"),
        (["label_maps=x.yaml"], "label_maps=x.yaml is about a common label space, and label_space is not set"),
        (
            ["label_space=polarity", "+datasets.ravdess.label_map.to={calm:nuetral,clam:neutral}"],
            "it maps 'calm' to 'nuetral', but label_space=polarity has negative, neutral, positive, did you mean",
        ),
        (
            ["label_space=polarity", "+datasets.ravdess.label_map.to.clam=neutral"],
            "it maps 'clam', which is not one of the labels neutral, calm, happy, sad, angry, fearful, disgust",
        ),
        (
            ["dataset=[mintrec]", "label_space=polarity"],
            "no map to them is declared for task 'intent' of dataset=mintrec (Complain, Praise",
        ),
        (
            ["dataset=[mintrec]", "label_space=polarity", "+datasets.mintrec.label_map.to.Praise=positive"],
            "it lacks Complain, Apologise, Thank",
        ),
        (
            ["dataset=[iemocap]", "label_space=four_emotions", "datasets.iemocap.tasks=[emotion4,emotion6]"],
            "asks one question of every dataset, but datasets.iemocap.tasks=['emotion4', 'emotion6'] are 2",
        ),
        (
            ["dataset=[mosi]", "label_space=polarity", "datasets.mosi.label_map.neutral=[1,-1]"],
            "neutral=[1.0, -1.0] has to be two numbers, [from, to], inside the range from -3 to 3",
        ),
        (
            ["dataset=[manifest]", "datasets.manifest.root=x.csv", "label_space=polarity"],
            "task 'label' of dataset=manifest declares no labels",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(configure: Configure, words: list[str], why: str) -> None:
    dataset = [] if words[0].startswith("dataset=") else ["dataset=[ravdess]"]
    with pytest.raises(ConfigError) as refused:
        configure("modalities=t", "model=tfidf", *dataset, *words)
    assert why in str(refused.value)


def test_the_image_of_a_class() -> None:
    how = LabelMapConfig(task="emotion", to={"joy": "happy", "awe": None})
    task = Task(name="emotion", kind=Kind.classification, labels=["joy", "awe"])
    assert [label_maps.image(label, task, how) for label in ("joy", "awe")] == ["happy", None]
