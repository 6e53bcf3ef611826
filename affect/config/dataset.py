"""Schema of the group `dataset`: where a dataset lies, how it is read, and which tasks it has."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from omegaconf import MISSING

from affect.config.fields import field
from affect.config.tasks import Task
from affect.config.transcription import Transcribe


@dataclass(slots=True, kw_only=True)
class SubsetConfig:
    """Number of records used of each split; null is all. Drawn by `subset_seed`, stratified by the first task; a
    smaller subset lies inside a larger one."""

    train: int | None = field(None, least=1)
    val: int | None = field(None, least=1)
    test: int | None = field(None, least=1)


class SubsetClasses(str, Enum):
    """Shares of the classes in a subset of the training clips."""

    natural = "natural"
    balanced = "balanced"


class OnBadRows(str, Enum):
    """How wrong rows of the annotations are handled."""

    refuse = "refuse"
    exclude = "exclude"


class CrossSplitDuplicates(str, Enum):
    refuse = "refuse"
    exclude = "exclude"
    allow = "allow"


@dataclass(slots=True, kw_only=True)
class LabelMapConfig:
    """How the labels of a dataset become those of `label_space`."""

    task: str | None = None
    """The task whose labels are mapped: the one that was chosen. Filled in, not given."""
    to: dict[str, str | None] = field(default_factory=dict)
    """Label of the common space by label of the task, null where it has no image: such clips are excluded and counted.
    What is given here changes the declared map (label_maps.yaml), or is the map where none is declared. An intensity is
    mapped by negative, neutral and positive."""
    neutral: list[float] = field(default_factory=list)
    """Intensity: [from, to], the values that are neutral, ends included; lower ones are negative, higher ones positive.
    Empty is that of the declared map, or else the middle of the range alone."""


@dataclass(slots=True, kw_only=True)
class DatasetConfig:
    reader: str = MISSING
    """Module of affect/data/readers that reads the dataset."""
    root: str = field(MISSING, role="data_location")
    """Folder (or, for a manifest, file) the reader is given."""
    modalities: str = field("tav", role="check")
    """Letters of "tav" the dataset has."""
    language: str = "en"
    """Language of questions and answers, and of what is said unless transcription.language names another."""
    tasks: list[str] = field(default_factory=list)
    """Which of task_definitions are trained and evaluated."""
    task_definitions: dict[str, Task] = field(default_factory=dict)
    """Every task of the dataset, by name."""
    speaker_independent: bool = field(False, role="check")
    """No speaker may be in two splits; a run that meets one is refused."""
    label_map: LabelMapConfig = field(default_factory=LabelMapConfig)
    """With label_space: how the labels of the chosen task are mapped."""
    options: dict[str, Any] = field(default_factory=dict)
    """The keyword-only parameters of the reader's `records` function."""
    audio_track: int | None = field(None, least=0)
    """Audio track of files with several (another language, a commentary), counted from 0; null is the file's default
    track, or else the first. Files without that track are excluded."""
    transcribe: Transcribe = Transcribe.none
    """Clips whose transcript a speech recogniser makes (`transcription`), where a model is given text. none: no clip.
    missing: those without a transcript. all: every clip, and the dataset's own transcripts are not used."""
    subset: SubsetConfig = field(default_factory=SubsetConfig, tags=("selects",))
    """Records that are used of each split."""
    subset_classes: SubsetClasses = field(SubsetClasses.natural, tags=("younger", "selects"))
    """subset.train: natural draws classes as often as they are among all training clips, balanced all equally often
    (of an intensity negative, zero and positive values), so that both can be compared at one number of clips."""
    fraction: float | None = field(None, tags=("selects",))
    """Share of the training clips used, above 0 and up to 1, or their number, from 2; null is all. Whole groups (video,
    dialogue, speaker) are drawn by `subset_seed`, so the number is approximate; a smaller fraction lies inside a larger
    one."""
    subset_seed: int = field(0, tags=("selects",))
    """Seed for drawing the subset or fraction."""
    exclude_overlap_with: list[str] = field(default_factory=list, tags=("selects",))
    """Names of datasets, of this run or of the one in run=…, whose clips are left out of this one in every split."""
    on_bad_rows: OnBadRows = field(OnBadRows.refuse, tags=("selects",))
    """Rows of the annotations that are wrong: refuse names all of them and stops; exclude leaves them out, lists each
    in exclusions.csv and counts them beside every number. A file that is wrong as a whole, for example without a
    column, is refused in any case."""
    cross_split_duplicates: CrossSplitDuplicates = field(CrossSplitDuplicates.refuse, tags=("selects",))
    """What happens where one clip (same file or content, windows that overlap by more than 0.1 s) is in two splits.
    refuse: the run ends with a list of them. exclude: the copy in the earlier of train, val and test is left out and
    listed in exclusions.csv, so that the test split stays as published; an evaluation of run=… leaves out what that run
    was trained on. allow: they are counted and used, as published results on such a set do."""
