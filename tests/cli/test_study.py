"""Studies: every file of conf/study is planned point by point, and some are run to their figures, with small models."""

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_runs import make_run
from test_transfer import sentences

from affect.cli import study, study_words, sweep
from affect.cli.study_plan import Plan, planned
from affect.config import Analysis, Config, ConfigError, StudyConfig, groups, studies
from affect.reports.gather import Request, gather
from affect.reports.studies import findings, main_effects, settings
from affect.reports.studies.finish import finish

ROOT = Path(__file__).resolve().parents[2]

NEEDED = {"transfer": ["dataset=[demo,meld]", "label_space=polarity", "modalities=t", "model=tfidf"]}
"""What has to be chosen beside a study that is about something other than the defaults."""

JOBS = {
    "benchmark": 1, "knowledge": 3 + 9, "data_efficiency": 42, "class_balance": 6, "hyper_parameters": 27,
    "modality_dominance": 3 + 18, "prompt_sensitivity": 27, "robustness": 3 + 15 + 45,
}  # fmt: skip


def plan(name: str, *words: str) -> Plan:
    return planned(studies.read(name), words, "name")


@pytest.mark.parametrize("name", studies.names())
def test_every_point_of_every_study_is_sound(name: str) -> None:
    made = plan(name, *NEEDED.get(name, []))
    assert made.steps and all(step.num_jobs > 0 for step in made.steps)
    assert name not in JOBS or sum(step.num_jobs for step in made.steps) == JOBS[name]
    assert made.study.about[0].isupper()


def test_there_are_studies() -> None:
    assert {*JOBS, *NEEDED} <= set(studies.names())


METHODS = {
    "benchmark": ("model=vectors has to be trained first: train it, python train.py -m", "model=majority has to be"),
    "knowledge": ("experiment=cues,cues_shuffled is about prompts, and model=vectors has none: choose a", "has none"),
    "data_efficiency": ("experiment=cues is about prompts, and model=vectors has none: leave the desc", "has none"),
    "prompt_sensitivity": ("varies prompting.options, prompting.options_order, prompting.paraphrase, w", "choose a"),
    "hyper_parameters": ("varies finetuning.learning_rate, finetuning.rank, without effect on model=vec", "leave them"),
    "modality_dominance": (21, "model=majority reads labels alone, so that no modality contributes: choose another"),
    "robustness": (3 + 15 + 45, "model=majority reads labels alone, and this study changes clips: choose another"),
    "class_balance": (6, 6),
    "transfer": (12, 12),
}
"""What becomes of each study with model=vectors and model=majority: a number of jobs, or why it is refused."""


@pytest.mark.parametrize("name", studies.names())
@pytest.mark.parametrize(("model", "place"), [("vectors", 0), ("majority", 1)])
def test_a_study_suits_methods_that_are_no_language_models_or_says_what_to_do(
    name: str, model: str, place: int
) -> None:
    expected = METHODS[name][place]
    given = [word for word in NEEDED.get(name, []) if not word.startswith(("model=", "modalities="))]
    given += ["seed=1,2,3"] if name == "transfer" else []
    if isinstance(expected, int):
        assert sum(step.num_jobs for step in plan(name, f"model={model}", *given).steps) == expected
    else:
        with pytest.raises(ConfigError, match=expected) as refused:
            plan(name, f"model={model}", *given)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "trained"), [((), "t,a,v,ta,tv,av,tav"), (("modalities=ta",), "t,a,ta"), (("modalities=t,a",), "t,a")]
)
def test_a_method_is_trained_on_each_subset_that_it_cannot_be_evaluated_on(given: tuple, trained: str) -> None:
    made = plan("modality_dominance", "model=vectors", *given)
    assert [step.name for step in made.steps] == ["trained"]
    chosen = given == ("modalities=t,a",)  # who names several has chosen
    assert made.said[0].endswith("trained on: without subsets" if chosen else f"each subset, modalities={trained}")
    assert f"modalities={trained}" in made.steps[0].words


def test_a_language_model_is_evaluated_on_the_subsets_of_what_it_is_trained_on() -> None:
    made = plan("modality_dominance", "modalities=tv")
    assert [step.words for step in made.steps] == [["seed=1,2,3", "modalities=tv"], ["modalities=t,v"]]
    both = "model=mult has to be trained on each subset of the modalities, and model=smollm2 is evaluated on it: begin"
    with pytest.raises(ConfigError, match=both):
        plan("modality_dominance", "model=smollm2,mult")
    with pytest.raises(ConfigError, match="modalities=t is text alone, and this study divides a metric among two"):
        plan("modality_dominance", "model=tfidf")


def test_what_changes_a_modality_that_is_not_there_is_left_out_of_robustness() -> None:
    made = plan("robustness", "model=tfidf", "seed=1")
    assert [(step.name, step.num_jobs) for step in made.steps] == [("trained", 1), ("missing", 5)]
    assert [sentence.split(",")[0] for sentence in made.said] == [
        "trained: modalities=t", "noise: without noise_audio", "missing: without drop_audio",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="features=mmsa_unaligned reads no clips, and this study changes them"):
        plan("robustness", "model=mult", "features=mmsa_unaligned", "dataset=mosi")


def words(name: str, multirun: str, given: list[str], choice: list[str] | None = None) -> list[str]:
    return study_words.of_multirun(studies.read(name), multirun, given, choice, ["demo"] if choice is None else choice)


def test_a_word_replaces_that_of_the_study_and_the_others_follow() -> None:
    assert words("data_efficiency", "fine_tuned", ["seed=7", "trainer.max_epochs=1"]) == [
        "experiment=plain,cues",
        "datasets.demo.fraction=0.05,0.1,0.2,0.4,0.6,0.8,1.0",
        "seed=7",
        "trainer.max_epochs=1",
    ]
    assert words("class_balance", "fine_tuned", ["~datasets.demo.subset.train", "~x", "datasets.demo.root=/a"]) == [
        "seed=1,2,3",
        "datasets.demo.subset_classes=natural,balanced",
        "~x",
        "datasets.demo.root=/a",
    ]


def test_a_multirun_is_left_out() -> None:
    assert list(studies.read("knowledge", ["~multiruns.zero_shot", "metrics=[uar]"]).multiruns) == ["fine_tuned"]
    assert studies.read("knowledge", ["metrics=[uar]"]).metrics == ["uar"]


def test_a_word_about_evaluations_goes_to_them_and_one_about_the_training_does_not() -> None:
    given = ["intervention.snr=0", "modalities=ta", "seed=1", "model=vectors"]
    assert words("robustness", "trained", given) == ["modalities=ta", "seed=1", "model=vectors"]
    assert words("robustness", "noise", given) == ["intervention=noise_audio", "intervention.snr=0"]
    assert words("modality_dominance", "subsets", given) == ["modalities=t,a,v,ta,tv,av"]
    assert "intervention=mute" in words("class_balance", "fine_tuned", ["intervention=mute"]), "to be refused"


def test_experiments_are_put_below_those_of_the_study() -> None:
    both = words("knowledge", "fine_tuned", ["experiment=quick,demo", "seed=3,4"])
    assert both[0].startswith("experiment=[quick,plain],[quick,cues],[quick,cues_shuffled],[demo,plain],")
    assert "seed=3" in words("knowledge", "zero_shot", ["seed=3,4"]), "nothing is random without training"


def test_every_dataset_has_multiruns_of_its_own() -> None:
    given = ["modalities=t", "model=tfidf", "datasets.meld.subset.train=70", "seed=1", "seed=2"]
    meld, demo = plan("class_balance", "dataset=meld,demo", *given).steps
    assert (meld.name, demo.name, meld.num_jobs) == ("fine_tuned_meld", "fine_tuned_demo", 2)
    assert "datasets.meld.subset_classes=natural,balanced" in meld.words
    assert meld.words[-3:] == ["model=tfidf", "datasets.meld.subset.train=70", "seed=2"], "the last of one key counts"
    assert "datasets.demo.subset.train=42" in demo.words and "datasets.meld.subset.train=70" not in demo.words


def test_evaluations_of_trainings_get_what_is_about_every_job(own_conf: Path) -> None:
    own_conf.joinpath("study", "own.yaml").write_text(
        "about: X\nx: [modalities]\nmultiruns:\n  a: {program: train, words: [seed=1, model=tfidf, modalities=t]}\n"
        "  b: {program: evaluate, evaluates: a, words: ['modalities=t,tav']}\n"
    )
    train, evaluate = plan("own", "seed=1,2", "output_root=here", "retries=2", "dataset=demo").steps
    assert evaluate.words == ["dataset=[demo]", "modalities=t,tav", "output_root=here", "retries=2"]
    assert (train.num_jobs, evaluate.num_jobs, evaluate.evaluates) == (2, 4, "a_demo")


@pytest.fixture
def own_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", copy)
    monkeypatch.setattr(groups, "CONF", copy)
    return copy


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("abuot: x", "conf/study/own.yaml: the key 'abuot' is not in StudyConfig, did you mean 'about'?"),
        (
            "about: x\nx: [a]\nmultiruns: {a: {program: trian}}",
            "multiruns.a.program=trian is not a choice, did you mean",
        ),
        ("about: x\nx: [a]\nmultiruns: {a: {wrods: []}}", "'multiruns.a.wrods' is not in MultirunConfig, did you mean"),
        ("about: x\nmultiruns: {a: {program: train}}", "x has to have the key along the horizontal axis"),
        ("about: x\nx: [a]", "it has no multiruns"),
        ("multiruns: {a: {program: train}}\nx: [a]", "about"),
        ("about: [", "is not YAML"),
        (
            "about: x\nx: [a]\nmultiruns: {a: {program: train, words: [seed]}}",
            "multiruns.a.words: 'seed' is not KEY=VAL",
        ),
        ("about: x\nx: [a]\nmultiruns: {../a: {program: train}}", "'../a' would be the name of a folder"),
        (
            "about: x\nx: [a]\nmultiruns: {a: {program: evaluate}, b: {program: evaluate, evaluates: a}}",
            "multiruns.b.evaluates=a is no multirun of trainings before it",
        ),
        ("about: x\nanalysis: learning_curves\nmultiruns: {a: {program: train}}", "series has to name their keys"),
    ],
)
def test_a_mistake_in_the_file_of_a_study_is_named(own_conf: Path, content: str, why: str) -> None:
    own_conf.joinpath("study", "own.yaml").write_text(content)
    with pytest.raises(ConfigError) as refused:
        studies.read("own")
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["knowlege"], "there is no study 'knowlege', did you mean 'knowledge'? Studies: benchmark, "),
        (["knowledge", "study.agianst=[a=b]"], "study.agianst=[a=b]: the key 'agianst' is not in StudyConfig, did you"),
        (["knowledge", "~study.multiruns.zero"], "has no such multirun; it has zero_shot, fine_tuned, which are left"),
        (["knowledge", "~study.about"], "~study.about: conf/study/knowledge.yaml has no such multirun"),
        (["knowledge", "run=outputs/x"], "run=outputs/x cannot be given to a study, which names points and runs"),
        (["knowledge", "sweep=seeds"], "sweep=seeds cannot be given to a study"),
        (["knowledge", "-m"], "-m cannot be given to a study, which begins several multiruns"),
        (["class_balance", "dataset=[demo,meld]"], "this study is about the clips of one: dataset=demo,meld runs it"),
        (["class_balance", "dataset=demoo"], "dataset=demoo names demoo, which is none, did you mean 'demo'?"),
        (["benchmark", "dataset=demo", "datasets.meld.root=x"], "meld is not one of dataset=demo: name it there too"),
        (["benchmark", "trainer.max_epoch=1"], "the key 'trainer.max_epoch' is not in TrainerConfig, did you mean"),
        (["transfer"], "sweep=transfer needs two datasets or more"),
        (
            ["class_balance", "model=tfidf", "modalities=t", "datasets.demo.fraction=0.5"],
            "needs the number of training",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_refused_at_once(
    words: list[str], why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["affect study", *words])
    with pytest.raises(SystemExit) as end:
        study.main()
    assert why in str(end.value.code) and list(tmp_path.iterdir()) == []


def test_a_dry_run_and_the_list_say_what_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["affect study", "class_balance", "seed=1", "dry_run=true"])
    study.main()
    said = capsys.readouterr().out
    assert "fine_tuned: 2 jobs: train -m datasets.demo.subset.train=42" in said and "2 jobs in all" in said
    monkeypatch.setattr(sys, "argv", ["affect study"])
    study.main()
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in studies.names()) and list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- run to its end


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MELD's tables with sentences that show their emotion, of which joy is the rarest."""
    root = tmp_path_factory.mktemp("study")
    (root / "meld").mkdir()
    counts = {"train": (24, 20, 12, 6), "dev": (3,) * 4, "test": (9,) * 4}
    for file, of_labels in counts.items():
        named = zip(("neutral", "anger", "surprise", "joy"), of_labels, strict=True)
        texts = sentences([label for label, count in named for _ in range(count)], len(file))
        with open(root / "meld" / f"{file}_sent_emo.csv", "w", encoding="utf-8", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"))
            rows.writerows((i, text, "Ross", label, "neutral", i, 0) for i, (text, label) in enumerate(texts))
    return root


@pytest.fixture(scope="module")
def run(world: Path) -> Iterator[Callable[..., str]]:
    """`run(name, folder, *words)` runs a study in this process and gives what it said at its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)

        def start(name: str, folder: str, *words: str) -> str:
            places = [f"data_root={world}", f"cache_root={world / 'cache'}", f"hydra.sweep.dir={world / folder}"]
            own = ["dataset=meld", "modalities=t", "trainer.progress=false", *places, *words]
            patch.setattr(sys, "argv", ["affect study", name, *own])
            patch.delenv("AFFECT_STAMP", raising=False)
            try:
                study.main()
            except SystemExit as end:
                return str(end.code)
            return ""

        yield start


BALANCE = ("model=tfidf", "seed=1", "datasets.meld.task_definitions.emotion.labels=[neutral,anger,surprise,joy]")


@pytest.fixture(scope="module")
def balance(run: Callable[..., str], world: Path) -> Path:
    assert run("class_balance", "balance", *BALANCE, "datasets.meld.subset.train=24") == ""
    return world / "balance"


def numbers(folder: Path) -> list[str]:
    with open(folder / "table.csv", encoding="utf-8", newline="") as file:
        return [row["weighted_f1_mean"] for row in csv.DictReader(file)]


def started(folder: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["started"] for path in folder.rglob("status.json")}


def test_a_study_ends_in_table_figures_and_summary(balance: Path) -> None:
    assert {path.name for path in balance.iterdir() if not path.name.startswith(".")} == {
        "sweep.json", "table.csv", "summary.md", "fine_tuned_meld",
        *(f"meld.emotion{part}.{kind}" for part in ("", "_recall") for kind in ("pdf", "png")),
    }  # fmt: skip
    with open(balance / "table.csv", encoding="utf-8", newline="") as file:
        balanced, natural = sorted(csv.DictReader(file), key=lambda row: row["datasets.meld.subset_classes"])
    assert natural["datasets.meld.subset_classes"] == "natural" and natural["n_seeds"] == "1"
    assert natural["used"] == balanced["used"] == "36" and balanced["difference"]
    data = [json.loads((Path(row["folders"].split(";")[0]) / "data.json").read_text()) for row in (natural, balanced)]
    assert [part["used"] for each in data for part in each["parts"] if part["split"] == "train"] == [24, 24]
    priors = json.loads((Path(balanced["folders"].split(";")[0]) / "priors.json").read_text())
    assert set(priors["meld.emotion"].values()) == {6}
    summary = (balance / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("# Study class_balance") and "## Missing" not in summary
    assert "](meld.emotion.png)" in summary and "`affect study class_balance dataset=meld" in summary


def test_a_study_goes_on_where_it_was_and_does_nothing_twice(
    balance: Path, run: Callable[..., str], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, means = started(balance), numbers(balance)
    assert run("class_balance", "balance", *BALANCE, "datasets.meld.subset.train=24") == ""
    assert started(balance) == before and len(before) == 2
    lost = next((balance / "fine_tuned_meld").glob("*/"))
    (lost / "metrics.json").unlink()
    (lost / "status.json").write_text(json.dumps({"state": "stopped", "by": "SIGTERM"}))
    monkeypatch.chdir(world)
    monkeypatch.setattr(sys, "argv", ["affect"])
    sweep.resume([str(balance)])
    after = started(balance)
    assert numbers(balance) == means
    assert {name for name in before if after[name] != before[name]} == {lost.name}


def test_the_folder_of_another_study_or_multirun_is_refused(balance: Path, run: Callable[..., str]) -> None:
    said = run("benchmark", "balance", "model=smollm2")
    assert "is the folder of the study class_balance, and this is benchmark: choose another one" in said
    said = run("benchmark", "balance/fine_tuned_meld", "model=smollm2")
    assert "is the folder of a multirun of train, and this is one of study" in said


def test_what_a_failed_job_leaves_out_is_named(run: Callable[..., str], world: Path) -> None:
    said = run("class_balance", "lacking", *BALANCE, "datasets.meld.subset.train=40")
    assert "Not finished, for the reason above: #1" in said and "no row has datasets.meld.subset_classes" not in said
    summary = (world / "lacking" / "summary.md").read_text(encoding="utf-8")
    missing = summary.partition("## Missing")[2].partition("## Findings")[0]
    assert "fine_tuned_meld: #1" in missing and "datasets.meld.subset_classes=balanced" in missing
    assert "needs 10 of label joy, and there are 6: set subset.train to at most 24" in missing
    assert "no row has datasets.meld.subset_classes" not in summary and "| runs |" in summary.partition("## Results")[2]


def test_learning_curves_are_fitted_to_the_clips_that_were_used(run: Callable[..., str], world: Path) -> None:
    words = ("model=tfidf,majority", "~experiment", "seed=1", "datasets.meld.fraction=0.2,0.4,0.6,0.8,1.0")
    own = ("study.against=[model.name=majority]", "study.series=[model.name]")
    assert run("data_efficiency", "curves", *words, *own) == ""
    summary = (world / "curves" / "summary.md").read_text(encoding="utf-8")
    found = summary.partition("## Findings")[2].partition("## Results")[0]
    assert "| setting" in found and "| tfidf" in found and "|    62 |" in found
    assert (
        "clips that tfidf saves against majority: none can be told, since the curve of majority does not rise" in found
    )
    assert (world / "curves" / "meld.emotion.pdf").stat().st_size > 1000


# ---------------------------------------------------------------- from rows


def gathered(configure: Callable[..., Config], out: Path, *runs: tuple[str, int]):
    for number, (words, correct) in enumerate(runs):
        make_run(configure, out, f"run{number}", *words.split(), correct=correct, groups=5)
    return gather(Request(folders=[out]))


def test_main_effects_are_those_of_the_grid(configure: Callable[..., Config], tmp_path: Path) -> None:
    grid = [("finetuning.rank=4", 2), ("finetuning.rank=16", 4)]
    runs = [
        (f"{rank} finetuning.learning_rate={rate} seed={seed}", correct + more + seed % 2)
        for rank, correct in grid for rate, more in (("1e-4", 0), ("1e-3", 3)) for seed in (1, 2)
    ]  # fmt: skip
    found = gathered(configure, tmp_path, *runs)
    [finding] = main_effects.findings(found, StudyConfig(about="x"))
    assert [line[:2] for line in finding.lines] == [
        ["finetuning.rank", "4"], ["finetuning.rank", "16"],
        ["finetuning.learning_rate", "0.0001"], ["finetuning.learning_rate", "0.001"],
    ]  # fmt: skip
    assert "settings: 4, mean" in finding.notes[0] and "share of the variation" in finding.notes[1]
    assert finding.chart is not None
    assert [each.name for each in finding.chart.series] == ["finetuning.rank", "finetuning.learning_rate"]
    shutil.rmtree(tmp_path / "run0")
    shutil.rmtree(tmp_path / "run1")
    [finding] = main_effects.findings(gather(Request(folders=[tmp_path])), StudyConfig(about="x"))
    assert "1 of 4 combinations have no number" in findings.markdown(finding) and finding.chart is None


def test_ranks_are_by_task_and_their_mean_over_those_that_all_have(
    configure: Callable[..., Config], tmp_path: Path
) -> None:
    both = "datasets.demo.tasks=[emotion,sentiment]"
    found = gathered(configure, tmp_path, (f"{both} finetuning.rank=4", 2), (f"{both} finetuning.rank=16", 9))
    [finding] = settings.ranks(found, StudyConfig(about="x"))
    assert [line[0] for line in finding.lines] == ["rank 4", "rank 16"]
    assert [[cell.split()[-1] for cell in line[1:]] for line in finding.lines] == [
        ["(2)", "(2)", "2.00"],
        ["(1)", "(1)", "1.00"],
    ]
    assert finding.chart is not None and finding.chart.kind == "heat map"


def test_numbers_along_the_axis_make_lines_and_words_make_bars(
    configure: Callable[..., Config], tmp_path: Path
) -> None:
    runs = [(f"finetuning.rank={rank} seed={seed}", rank // 2 + seed) for rank in (16, 4) for seed in (1, 2)]
    found = gathered(configure, tmp_path, *runs)
    [line] = settings.charts(found, StudyConfig(about="x", x=["finetuning.rank"]))
    [series] = line.chart.series
    assert line.chart.kind == "line" and series.x == [4.0, 16.0] and series.low[0] < series.y[0] < series.high[0]
    [bars] = settings.charts(found, StudyConfig(about="x", x=["model.name"]))
    assert bars.chart.kind == "bar" and [each.name for each in bars.chart.series] == ["rank 16", "rank 4"]
    [none] = settings.charts(found, StudyConfig(about="x", x=["nowhere"]))
    assert none.chart is None and none.notes == ["there is no chart over nowhere, which no row has"]


def test_modalities_prompts_and_matrices_are_those_of_their_own_commands(
    configure: Callable[..., Config], tmp_path: Path
) -> None:
    for number, subset in enumerate(("t", "a", "v", "ta", "tv", "av", "tav")):
        words = ("evaluation.readout=score", f"modalities={subset}")
        make_run(configure, tmp_path / "subsets", subset, *words, correct=3 + number, num=20, groups=5)
    for options, correct in (("words", 9), ("letters", 4)):
        asked = (f"prompting.options={options}",)
        make_run(configure, tmp_path / "prompts", options, *asked, correct=correct, num=20, groups=5, evaluate=True)
    endings = {
        Analysis.attribution: "contribution of modalities (Shapley)",
        Analysis.prompts: "demo.emotion, weighted_f1 over prompts",
        Analysis.transfer: "| demo",
    }
    for analysis, said in endings.items():
        folder = tmp_path / ("prompts" if analysis is Analysis.prompts else "subsets")
        if analysis is Analysis.transfer:
            folder = folder / "tav"
        own = StudyConfig(about="x", analysis=analysis)
        made = finish("own", own, folder, "affect study own", ["a: #1 x: failed"])
        assert made.refused == [] and any(finding.chart is not None for finding in made.findings)
        assert all(path.stat().st_size > 100 for path in made.written) and len(made.written) > 3
        summary = (folder / "summary.md").read_text(encoding="utf-8")
        assert said in summary and "## Missing\n\n- a: #1 x: failed" in summary


def test_what_cannot_be_analysed_is_said_beside_the_table(configure: Callable[..., Config], tmp_path: Path) -> None:
    make_run(configure, tmp_path, "one", "modalities=ta")
    for analysis, why in (
        (Analysis.attribution, "there is no finished run with modalities=t,a"),
        (Analysis.prompts, "has no prompt sensitivity: its runs do not differ in"),
        (Analysis.main_effects, "no main effects, since all settings are the same"),
    ):
        own = StudyConfig(about="x", analysis=analysis, against=["prompting.name=plain"])
        made = finish("own", own, tmp_path, "affect study own", [])
        summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
        assert why in summary and "every row has that" in summary
        assert any("every row has that" in sentence for sentence in made.refused) and "## Results" in summary


def test_hostile_names_are_shown_as_they_are(tmp_path: Path) -> None:
    evil = "<script>|\x1b[31m\n# x"
    finding = findings.Finding(name="x", title=evil, headings=["a", evil], lines=[[evil, "1"]], notes=[evil])
    text = findings.markdown(finding)
    assert "\x1b" not in text and "<script>" not in text and r"&lt;script>\| [31m # x" in text
    assert len(text.splitlines()) == 7 and findings.file_name(evil) == "_script____31m___x"
