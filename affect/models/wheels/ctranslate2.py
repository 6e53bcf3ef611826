"""Whisper in CTranslate2's binary format, which is read without CTranslate2, as transformers names its weights."""

import struct
from pathlib import Path

import numpy as np
import torch

VERSION = 6
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
"""Type of the numbers by its code in the file. Code 5, bfloat16, has none in numpy."""

SPLIT = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
}
"""Projections of a block that CTranslate2 computes as one, stacked along the first axis."""
RENAMED = {
    "self_attention/linear_1": "self_attn.out_proj",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
    "ffn/layer_norm": "final_layer_norm",
    "embeddings": "embed_tokens",
    "position_encodings": "embed_positions",
    "layer_norm": "layer_norm",
    "conv1": "conv1",
    "conv2": "conv2",
}
LEAVES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}


def read(path: Path) -> dict[str, np.ndarray]:
    """Every variable of the file by its name, `encoder/layer_0/ffn/linear_0/weight`; settings, such as the number of
    heads, have no axis.

    Layout, little-endian: uint32 version; the model's kind; uint32 revision; uint32 number of variables; of each its
    name, uint8 number of axes, uint32 length of each axis, uint8 code of the type, uint32 bytes, and these. A text is
    its uint16 length and its bytes, the last of which is 0. Raises ValueError for another version or kind.
    """
    data = path.read_bytes()
    at = 0

    def number(code: str) -> int:
        nonlocal at
        [value] = struct.unpack_from(f"<{code}", data, at)
        at += struct.calcsize(code)
        return value

    def text() -> str:
        nonlocal at
        length = number("H")
        at += length
        return data[at - length : at - 1].decode()

    version, kind, _ = number("I"), text(), number("I")
    if (version, kind) != (VERSION, "WhisperSpec"):
        raise ValueError(f"{path.name} is a {kind} in version {version}: a WhisperSpec in version {VERSION} is read")
    variables = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind_of_numbers, length = np.dtype(TYPES[number("B")]), number("I")
        numbers = np.frombuffer(data, kind_of_numbers, length // kind_of_numbers.itemsize, at)
        variables[name] = numbers.reshape(shape)
        at += length
    return variables


def whisper_weights(variables: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The state of a WhisperForConditionalGeneration, float32 as on the model hub: transformers loads weights in the
    type that they are stored in, and CPUs are slow with the float16 of the file.

    Raises KeyError for a variable that Whisper does not have.
    """
    state = {}
    for name, values in variables.items():
        if not np.issubdtype(values.dtype, np.floating) or name == "decoder/scale_embeddings":
            continue  # a setting
        side, *block, module, leaf = name.split("/")
        prefix = f"model.{side}."
        if block and block[0].startswith("layer_") and block[0] != "layer_norm":
            prefix += f"layers.{block[0].removeprefix('layer_')}."
            block = block[1:]
        module, leaf = "/".join([*block, module]), LEAVES[leaf]
        targets = SPLIT.get(module) or (RENAMED[module],)
        for target, rows in zip(targets, np.split(values, len(targets)), strict=True):
            # Whisper's keys have no bias; CTranslate2 writes zeros, as it has one for all of a stack.
            if not (target.endswith("k_proj") and leaf == "bias"):
                state[f"{prefix}{target}.{leaf}"] = torch.from_numpy(rows.astype(np.float32))
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    return state
