"""The demo corpus: small synthetic talking faces, made on first use, for trying and testing the whole pipeline.

It is synthetic: nobody said these lines, the voices are sums of harmonics and the faces are drawn. A score on it shows
that the tool works, and says nothing about people or about how well a model reads them.

The best possible score is known. Every clip has a hidden state (emotion, valence, humorous or not), drawn as
p(emotion) p(valence | emotion) p(humour | emotion). Each modality then *shows* a state: with probability `reveal` the
hidden one, otherwise one drawn independently of it, mostly neutral and sometimes any (a misleading smile). Whether a
modality reveals cannot be seen, so several modalities have to be weighed against each other; with reveal 0 a modality
carries no information. From the shown states follow the exact posterior and the best predictions on the test clips, for
every subset of modalities; they are written to `best_possible.json` before anything is trained.

    affect corpus --root outputs/demo --reveal-text 0.4

README, below, lists the files.
"""

import csv
import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from affect.config import MODALITIES, DataError
from affect.data.demo_corpus.render import FPS, render_face, render_text, render_voice
from affect.data.demo_corpus.states import EMOTION_OF, EMOTIONS, HUMOUR, HUMOUR_OF, PRIOR, VALENCE_OF, VALENCES, VERSION
from affect.data.media import SAMPLING_RATE, write_clip
from affect.data.progress import progress
from affect.data.record import SPLITS

SUBSETS = ("", "t", "a", "v", "ta", "tv", "av", "tav")
CLIPS_PER_SPEAKER = 12
"""About this many; a speaker is in one split only."""

SECONDS = (2.0, 3.0)
"""Range of the clips' durations: what a small model can afford on a laptop, and enough for about eight syllables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the corpus depends on. Changing one number leaves every draw that does not depend on it as it was."""

    seed: int = 17
    """Of the seeds 0 to 29, the one whose 120 test clips have best possible scores closest to those of 8,000 clips."""
    reveal_text: float = 0.6
    """Probability that the words show the hidden state."""
    reveal_audio: float = 0.5
    """Probability that the voice shows the hidden state."""
    reveal_video: float = 0.4
    """Probability that the face shows the hidden state."""
    composure: float = 0.9
    """Of the states shown instead of the hidden one, the share that is neutral; the others are drawn as hidden ones
    are."""
    num_train: int = 200
    num_val: int = 40
    num_test: int = 120

    def __post_init__(self) -> None:
        for name in ("reveal_text", "reveal_audio", "reveal_video", "composure"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise DataError(f"the demo corpus' {name} is {value}: it is a probability, give 0 to 1")
        for name in ("num_train", "num_val", "num_test"):
            if getattr(self, name) < 1:
                raise DataError(f"the demo corpus' {name} is {getattr(self, name)}: give at least 1")
        if self.seed < 0:
            raise DataError(f"the demo corpus' seed is {self.seed}: give 0 or more")


def decoys(settings: Settings) -> np.ndarray:
    """float64[states]: probability of each state being shown by a modality that does not reveal the hidden one."""
    composed = np.where(EMOTION_OF == 0, PRIOR, 0)
    return settings.composure * composed / composed.sum() + (1 - settings.composure) * PRIOR


def reveals(settings: Settings) -> dict[str, float]:
    return {letter: getattr(settings, f"reveal_{name}") for letter, name in MODALITIES.items()}


def posterior(shown: dict[str, np.ndarray], settings: Settings) -> np.ndarray:
    """float64[clips, states]: probability of the hidden state given the states that some modalities show.

    Given the hidden state z the modalities are independent, and p(s | z) = reveal 1[s = z] + (1 - reveal) decoy(s).

    shown: by letter of the modality, int[clips].
    """
    num_clips = len(next(iter(shown.values())))
    table = np.tile(PRIOR, (num_clips, 1))
    reveal, decoy = reveals(settings), decoys(settings)
    for letter, states in shown.items():
        likelihood = np.repeat(((1 - reveal[letter]) * decoy[states])[:, None], PRIOR.size, axis=1)
        likelihood[np.arange(num_clips), states] += reveal[letter]
        table *= likelihood
    return table / table.sum(axis=1, keepdims=True)


def best_possible(hidden: np.ndarray, shown: dict[str, np.ndarray], settings: Settings) -> dict[str, dict]:
    """The scores of the Bayes-optimal predictions on these very clips: by task, metric and subset of modalities.

    The class with the largest posterior is best for accuracy (weighted F1 is that of the same predictions), the
    posterior's median for MAE, its mean for Pearson's r. The subset "" knows the prior alone: the majority class, and
    no r.

    hidden: int[clips]; shown: by letter, int[clips].
    """
    scores: dict[str, dict] = {
        "emotion": {"accuracy": {}, "weighted_f1": {}},
        "humour": {"accuracy": {}, "weighted_f1": {}},
        "sentiment": {"mae": {}, "pearson": {}},
    }
    for subset in SUBSETS:
        known = {letter: shown[letter] for letter in subset}
        belief = posterior(known, settings) if known else np.tile(PRIOR, (hidden.size, 1))
        for task, of in (("emotion", EMOTION_OF), ("humour", HUMOUR_OF)):
            predicted = np.stack([belief[:, of == i].sum(axis=1) for i in range(of.max() + 1)], axis=1).argmax(axis=1)
            scores[task]["accuracy"][subset] = float(np.mean(predicted == of[hidden]))
            scores[task]["weighted_f1"][subset] = _weighted_f1(predicted, of[hidden])
        by_valence = np.stack([belief[:, i == VALENCE_OF].sum(axis=1) for i in range(VALENCES.size)], axis=1)
        truth = VALENCES[VALENCE_OF[hidden]]
        median = VALENCES[(by_valence.cumsum(axis=1) >= 0.5).argmax(axis=1)]
        scores["sentiment"]["mae"][subset] = float(np.mean(np.abs(median - truth)))
        mean = by_valence @ VALENCES
        varies = mean.std() > 1e-9 and truth.std() > 0  # below is rounding of a constant
        scores["sentiment"]["pearson"][subset] = float(np.corrcoef(mean, truth)[0, 1]) if varies else None
    return scores


def _weighted_f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    """F1 of each class, weighted by its number of true clips."""
    total = 0.0
    for label in np.unique(truth):
        hits = np.sum((predicted == label) & (truth == label))
        total += np.sum(truth == label) * 2 * hits / (np.sum(predicted == label) + np.sum(truth == label))
    return float(total / truth.size)


# ---------------------------------------------------------------------------------------------------------------------
# Drawing the clips' states.


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One clip before it is rendered."""

    split: str
    number: int
    """From 1 within the split."""
    speaker: int
    """Unique over all splits."""
    hidden: int
    shown: dict[str, int]
    """State by letter of the modality."""

    @property
    def id(self) -> str:
        return f"demo/{self.split}/{self.number:04d}"

    @property
    def clip(self) -> str:
        return f"clips/{self.split}_{self.number:04d}.mp4"


STREAMS = ("hidden", "t reveals", "t decoy", "a reveals", "a decoy", "v reveals", "v decoy", "seconds", "t", "a", "v")
"""Every kind of draw has random numbers of its own, so that changing one setting does not reshuffle the others."""


def _random(settings: Settings, line_key: tuple[str, int], stream: str) -> np.random.Generator:
    split, number = line_key
    return np.random.default_rng([settings.seed, SPLITS.index(split), number, STREAMS.index(stream)])


def lines(settings: Settings) -> Iterator[Line]:
    """All clips of the corpus with their hidden and shown states."""
    decoy = decoys(settings)
    first_speaker = 0
    for split in SPLITS:
        num_clips = getattr(settings, f"num_{split}")
        num_speakers = max(1, round(num_clips / CLIPS_PER_SPEAKER))
        for number in range(1, num_clips + 1):
            key = (split, number)
            hidden = int(_random(settings, key, "hidden").choice(PRIOR.size, p=PRIOR))
            shown = {}
            for letter, reveal in reveals(settings).items():
                revealed = _random(settings, key, f"{letter} reveals").random() < reveal
                other = int(_random(settings, key, f"{letter} decoy").choice(PRIOR.size, p=decoy))
                shown[letter] = hidden if revealed else other
            speaker = first_speaker + number % num_speakers
            yield Line(split=split, number=number, speaker=speaker, hidden=hidden, shown=shown)
        first_speaker += num_speakers


# ---------------------------------------------------------------------------------------------------------------------
# The corpus on disk.


def _render(line: Line, settings: Settings, root: Path) -> None:
    key = (line.split, line.number)
    seconds = round(_random(settings, key, "seconds").uniform(*SECONDS) * FPS) / FPS
    # The same traits in every clip of a speaker, from numbers of their own: 3 and 4 follow the indices of the splits.
    face, throat = (np.random.default_rng([settings.seed, len(SPLITS) + i, line.speaker]) for i in range(2))
    write_clip(
        root / line.clip,
        frames=render_face(line.shown["v"], round(seconds * FPS), face, _random(settings, key, "v")),
        fps=FPS,
        waveform=render_voice(line.shown["a"], seconds, throat, _random(settings, key, "a")),
        sampling_rate=SAMPLING_RATE,
    )


def generate(root: Path, settings: Settings) -> None:
    """Makes the corpus in `root`, which appears only when it is whole; nobody's half-made corpus is ever read.

    Of two processes that make it at once, one wins and the other throws its own away. Raises DataError where the folder
    is in use or cannot be written.
    """
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root} exists already: delete it to make the demo corpus anew, or give another root")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{root.name}.", dir=root.parent, ignore_cleanup_errors=True
        ) as folder:
            unfinished = Path(folder) / root.name
            (unfinished / "clips").mkdir(parents=True)
            _write(unfinished, list(lines(settings)), settings)
            try:
                os.replace(unfinished, root)
            except OSError:
                # A folder with something in it cannot be replaced: another process was faster.
                if not (root / "settings.json").exists():
                    raise
    except OSError as error:
        raise DataError(
            f"the demo corpus cannot be written to {root} ({error.strerror or error}): make room there, or give"
            " a folder that can be written with datasets.demo.root=…"
        ) from error


def _write(root: Path, corpus: list[Line], settings: Settings) -> None:
    # Threads, since drawing and encoding leave the interpreter's lock most of the time, and starting processes would
    # cost more than they save.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rendered = pool.map(lambda line: _render(line, settings, root), corpus)
        try:
            with progress(enabled=True) as bar:
                for _ in bar.track(rendered, len(corpus), description="making the demo corpus"):
                    pass
        except BaseException:  # Ctrl-C too: what has not begun is not begun
            pool.shutdown(cancel_futures=True)
            raise

    names = list(EMOTIONS)
    with open(root / "index.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "split", "speaker", "clip", "text", "sentiment", "emotion", "humour"))
        for line in corpus:
            text = render_text(line.shown["t"], _random(settings, (line.split, line.number), "t"))
            labels = VALENCES[VALENCE_OF[line.hidden]], names[EMOTION_OF[line.hidden]], HUMOUR[HUMOUR_OF[line.hidden]]
            rows.writerow((line.id, line.split, f"speaker{line.speaker:02d}", line.clip, text, *labels))
    with open(root / "hidden.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        states = ("hidden", *MODALITIES.values())
        rows.writerow(("id", *(f"{name}_{part}" for name in states for part in ("emotion", "valence", "humour"))))
        for line in corpus:
            cells: list[object] = [line.id]
            for state in (line.hidden, *line.shown.values()):
                cells += [names[EMOTION_OF[state]], VALENCES[VALENCE_OF[state]], HUMOUR[HUMOUR_OF[state]]]
            rows.writerow(cells)

    test = [line for line in corpus if line.split == "test"]
    shown = {letter: np.array([line.shown[letter] for line in test]) for letter in MODALITIES}
    scores = best_possible(np.array([line.hidden for line in test]), shown, settings)
    _write_json(root / "best_possible.json", {"split": "test", "scores": scores})
    (root / "README.txt").write_text(README, encoding="utf-8")
    _write_json(root / "settings.json", {"version": VERSION, "settings": asdict(settings)})


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


README = """\
Demo corpus of affect: synthetic clips for trying and testing the pipeline.

Faces are drawn, voices are sums of harmonics, lines are put together from templates. Nobody is shown or heard. A score
on these clips tells nothing about people, nor about how well a model reads them.

settings.json       settings and version of the generator; the same settings give the same clips
index.csv           id,split,speaker,clip,text,sentiment,emotion,humour
clips/              H.264 and AAC in mp4
best_possible.json  by task, metric and subset of modalities: the best that can be got on the test clips, computed from
                    the states each modality shows. The subset "" is the prior alone.
hidden.csv          the hidden state of every clip and the state each modality shows; not for models

It can be deleted at any time; it is made anew on next use.
"""


def table(root: Path) -> Table:
    """What is in best_possible.json, for people."""
    scores = json.loads((root / "best_possible.json").read_text(encoding="utf-8"))["scores"]
    result = Table(
        title=f"Best possible scores on the test clips of {root}", box=None
    )  # no lines: it has to fit 80 columns
    result.add_column("modalities")
    columns = [(task, metric) for task, metrics in scores.items() for metric in metrics]
    for task, metric in columns:
        result.add_column(f"{task}\n{metric}".replace("_", "\n"), justify="right")
    for subset in SUBSETS:
        values = [scores[task][metric][subset] for task, metric in columns]
        result.add_row(subset or "none", *("-" if value is None else f"{value:.3f}" for value in values))
    return result
