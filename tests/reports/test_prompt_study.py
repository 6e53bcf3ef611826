"""What a report says of a grid of prompts, from finished runs."""

from pathlib import Path

import pytest
import yaml
from made_runs import make_run, records, remember_configurations

from affect.config import ConfigError, OptionsOrder, Task
from affect.data import Prediction
from affect.prompting.options import shown_order
from affect.reports.aggregate import table
from affect.reports.collect import find, load
from affect.reports.drawing import draw
from affect.reports.paired_runs import Scored
from affect.reports.prompt_sensitivity import _of_labels, _of_places, prompt_sensitivity
from affect.reports.settings import Run

LABELS = ["neutral", "joy", "sadness", "anger", "surprise", "disgust"]


@pytest.fixture(autouse=True)
def read_once(monkeypatch) -> None:
    remember_configurations(monkeypatch)


def read(out: Path) -> list[Run]:
    runs, damaged = load(find([out])[0])
    assert not damaged
    return runs


def without_factors(config: dict) -> dict:
    """The configuration that a run had before prompts could be varied."""
    new = ("paraphrase", "options", "options_order", "options_seed", "system_turn")
    kept = {key: value for key, value in config["prompting"].items() if key not in new and "_instruction" not in key}
    kept["cot_instruction"] = config["prompting"]["cot_instruction"]
    kept["fewshot"] = {key: value for key, value in kept["fewshot"].items() if key != "options"}
    return {**config, "prompting": kept}


def test_an_older_run_is_one_with_the_usual_prompt(configure, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    old = make_run(configure, out, "old", "seed=1", correct=8)
    make_run(configure, out, "new", "seed=2", correct=6)
    make_run(configure, out, "letters", "seed=2", "prompting.options=letters", correct=4)
    path = old / "config.yaml"
    path.write_text(yaml.safe_dump(without_factors(yaml.safe_load(path.read_text()))))
    (old / "config.json").unlink()
    letters, usual = sorted(records(capsys, out), key=lambda row: row["prompting.options"])
    assert (usual["prompting.options"], usual["n_seeds"]) == ("words", "2")
    assert (letters["prompting.options"], letters["n_seeds"]) == ("letters", "1")


def test_the_parts_of_a_study(configure, tmp_path) -> None:
    out = tmp_path / "out"
    for model, correct in (("smollm2", (30, 24, 20)), ("qwen2_5_7b_text", (12, 10, 8))):
        words = (f"model={model}",)
        for (options, order), right in zip(
            (("words", "fixed"), ("letters", "fixed"), ("letters", "shuffled")), correct, strict=True
        ):
            factors = (f"prompting.options={options}", f"prompting.options_order={order}")
            name = f"{model}_{options}_{order}"
            make_run(configure, out, name, *words, *factors, correct=right, num=40, groups=12, evaluate=True)
    runs = read(out)
    found = table(runs, "demo.emotion", metrics=["accuracy"])
    spreads, ranks, labels, tested, places = prompt_sensitivity(found, runs)
    by_model = {line[0]: line for line in spreads.lines}
    assert by_model["smollm2"][1:5] == ["3", "0.6167", "0.1258", "0.2500"]
    assert by_model["smollm2"][5:] == ["0.7500 (words fixed)", "0.5000 (letters shuffled)"]
    assert by_model["qwen2_5_7b_text"][6] == "0.2000 (letters shuffled)"
    assert ranks.lines == [["2", "3", "1.0000", "1.0000", "-"]]
    assert {line[0] for line in labels.lines} == {
        f"{model}, {options}" for model in ("smollm2", "qwen2_5_7b_text") for options in ("words", "letters")
    }
    assert [line[1] for line in labels.lines[:6]] == LABELS
    assert {line[0] for line in tested.lines} == {"smollm2, letters", "qwen2_5_7b_text, letters"}
    assert any("smollm2, words: no preference for positions" in note for note in places.notes)
    for number, part in enumerate((spreads, labels, places)):
        assert all(len(line) == len(part.headings) for line in part.lines)
        draw(part.chart, tmp_path / f"{number}.svg")
    assert ranks.chart is None


def test_runs_with_one_prompt_are_refused(configure, tmp_path) -> None:
    out = tmp_path / "out"
    make_run(configure, out, "one", "seed=1")
    make_run(configure, out, "two", "modalities=a", "seed=1")
    runs = read(out)
    with pytest.raises(ConfigError, match=r"demo.emotion has no prompt sensitivity: its runs do not differ"):
        prompt_sensitivity(table(runs, "demo.emotion"), runs)


def test_damaged_predictions_are_named(configure, tmp_path) -> None:
    out = tmp_path / "out"
    for options in ("words", "letters"):
        make_run(configure, out, options, f"prompting.options={options}")
    runs = read(out)
    found = table(runs, "demo.emotion")
    file = out / "words" / "predictions.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ConfigError, match=r"demo.emotion has no preferences of answers: .*words"):
        prompt_sensitivity(found, runs)


def test_answers_that_go_by_the_place_are_told_from_those_that_go_by_the_label() -> None:
    task = Task(name="emotion", labels=LABELS)
    ids = [f"demo/test/{number}" for number in range(120)]
    orders = {key: shown_order(LABELS, OptionsOrder.shuffled, 3, key) for key in ids}

    def scored(answer) -> Scored:
        predictions = {
            key: Prediction(
                id=key,
                dataset="demo",
                split="test",
                task="emotion",
                group=f"g{number // 7}",
                target=LABELS[number % 6],
                answer=None,
                exact=answer(number, key),
                lenient=answer(number, key),
                outcome="valid",
                readout="score",
            )
            for number, key in enumerate(ids)
        }
        return Scored(name="run", predictions=predictions, reader="lenient")

    by_place = scored(lambda number, key: orders[key][0] if number % 2 else LABELS[number % 6])
    places, (_, freedom, p) = _of_places([by_place], task, 3)
    assert (freedom, p) == ("5", "<0.0001")
    assert places[0].option == "1" and places[0].low > 0.2
    by_label = scored(lambda number, key: "joy" if number % 2 else LABELS[number % 6])
    places, (_, _, p) = _of_places([by_label], task, 3)
    assert float(p) > 0.05
    labels = {each.option: each for each in _of_labels([by_label], task)}
    assert labels["joy"].difference == pytest.approx(labels["joy"].answered - 1 / 6) and labels["joy"].low > 0.2
    unreadable = scored(lambda number, key: None)
    places, tested = _of_places([unreadable], task, 3)
    assert tested == ["-"] * 3 and {each.answered for each in places} == {0.0}
