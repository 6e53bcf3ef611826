"""The configuration: its schema, one file a group; tasks; composing it from the command line; errors as sentences."""

from affect.config.baselines import BaselineConfig, NetworkConfig, PriorConfig, TfidfConfig, VectorsConfig
from affect.config.dataset import (
    CrossSplitDuplicates,
    DatasetConfig,
    LabelMapConfig,
    OnBadRows,
    SubsetClasses,
    SubsetConfig,
)
from affect.config.errors import ConfigError, DataError, NothingAnswered, WriteError, near
from affect.config.evaluation import Calibration, EvaluationConfig, IntensityReadout, Reader, Readout
from affect.config.families import FAMILIES, LACKING, PACKAGES
from affect.config.features import WITHOUT_OPENSMILE, FeatureKind, FeaturesConfig
from affect.config.finetuning import (
    ClassSampling,
    FinetuningConfig,
    HeadFit,
    LabelWeights,
    LoraMethod,
    Mixing,
    Target,
    Tower,
)
from affect.config.intervention import Intervention, InterventionConfig
from affect.config.knowledge import Control, ControlSplit, CuesForm, CuesReference, KnowledgeConfig, Missing, Source
from affect.config.logger import LoggerConfig, LoggerKind, WandbMode
from affect.config.model import (
    MODALITIES,
    WHEELS,
    Attention,
    ComposedConfig,
    Media,
    ModelConfig,
    NativeConfig,
    NativeVideoConfig,
    Precision,
    ProjectorKind,
    QwenOmniConfig,
    ServerConfig,
    ServerVideo,
    is_true,
    new_modalities,
)
from affect.config.prompting import (
    DESCRIPTIONS,
    DescriptionsPosition,
    ExampleChoice,
    FewshotConfig,
    Options,
    OptionsOrder,
    PromptingConfig,
    SystemTurn,
    TooLong,
)
from affect.config.schema import (
    GROUPS,
    NO_VALUE,
    Config,
    ExportAs,
    chosen_tasks,
    read_yaml,
    register,
    text_for_null,
    to_json,
    to_yaml,
)
from affect.config.study import Analysis, MultirunConfig, StudyConfig, StudyProgram
from affect.config.tasks import Kind, Task, Value
from affect.config.trainer import Accelerator, EncoderCache, Strategy, Switch, TrainerConfig
from affect.config.transcription import Transcribe, TranscriptionConfig
