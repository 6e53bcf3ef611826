"""The families of `model=`, and the schema of each."""

from affect.config.baselines import PriorConfig, TfidfConfig, VectorsConfig
from affect.config.fusion import LmfConfig, MisaConfig, MultConfig, SelfMmConfig, TfnConfig
from affect.config.model import ComposedConfig, NativeConfig, NativeVideoConfig, QwenOmniConfig, ServerConfig

FAMILIES = {
    "composed": ComposedConfig,
    "qwen_omni": QwenOmniConfig,
    "qwen3_omni": NativeVideoConfig,
    "gemma3n": NativeConfig,
    "gemma4": NativeVideoConfig,
    "phi4_multimodal": NativeConfig,
    "qwen2_audio": NativeConfig,
    "audio_flamingo3": NativeConfig,
    "voxtral": NativeConfig,
    "qwen3_vl": NativeVideoConfig,
    "video_llama3": NativeVideoConfig,
    "nemotron_h_omni": NativeConfig,
    "server": ServerConfig,
    "prior": PriorConfig,
    "tfidf": TfidfConfig,
    "vectors": VectorsConfig,
    "tfn": TfnConfig,
    "lmf": LmfConfig,
    "mult": MultConfig,
    "misa": MisaConfig,
    "self_mm": SelfMmConfig,
}
"""The schema of each model family."""

LACKING = {
    "qwen2_audio": "v",
    "audio_flamingo3": "v",
    "voxtral": "v",
    "nemotron_h_omni": "v",
    "qwen3_vl": "a",
    "video_llama3": "a",
    "tfidf": "av",
}
"""Letters of the modalities that no model of a family takes."""

PACKAGES = {"gemma3n": "timm"}
"""Packages that a family needs and affect does not install by default. The extra has the family's name."""
