"""The family `composed`: any causal language model of transformers, an audio encoder, a vision encoder, and projectors
whose outputs stand as soft tokens at the placeholders of the prompt."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

from affect.config import WHEELS, ComposedConfig, ConfigError, ProjectorKind, is_true
from affect.config.logs import LOG
from affect.models import reach
from affect.models.chat import end_of_turn
from affect.models.composed import features, towers
from affect.models.composed.encoder import SOFT_TOKENS, ComposedEncoder, num_states
from affect.models.composed.projectors import Projector, QFormer
from affect.models.generation import Decoder, text_positions
from affect.models.pretrained import recompute_activations, refusals, weights
from affect.models.wheels.checkpoints import resolved

MODULES = {"audio": "audio", "video": "vision"}
"""Name of the encoder of each part: of its module, its tower and its key of the configuration."""


class Composed(Decoder):
    """See `affect.models.Model`. An encoder whose modality is off is not built."""

    def __init__(self, config: ComposedConfig, language: nn.Module, modalities: str, stops: frozenset[int]) -> None:
        """`stops` are the tokens that end a generated answer."""
        super().__init__()
        self.language, self.stops = language, stops
        embeddings = language.get_input_embeddings().weight
        scale = float(embeddings.detach().float().pow(2).mean().sqrt())
        num_tokens = {"audio": config.audio_tokens, "video": config.video_tokens}
        self.towers, new = {"language": ["language"]}, set()
        for part, name in MODULES.items():
            if part[0] not in modalities:
                continue
            encoder = towers.tower(part, config, num_states(config)[part])
            queries = None
            if config.projector is ProjectorKind.qformer:
                queries = QFormer(encoder.width, num_tokens[part], config.qformer_layers, config.qformer_heads)
            self.add_module(name, encoder)
            num_layers = getattr(encoder, "num_layers", None)
            pretrained = getattr(config, name) != "conv"
            standardised = config.standardise_states and pretrained
            dropout = config.state_dropout if pretrained else 0.0
            projector = Projector(encoder.width, embeddings.shape[1], scale, queries, num_layers, standardised, dropout)
            self.add_module(f"{part}_projector", projector)
            self.towers[name] = [name]
            self.towers.setdefault("projector", []).append(f"{part}_projector")
            new |= {"projector", name} if getattr(config, name) == "conv" else {"projector"}
        self.new = frozenset(new)
        recompute_activations(language, is_true(config.gradient_checkpointing))

    def soft_tokens(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """tokens[B, num_tokens, D] that stand for audio and for video, as far as the batch has them."""
        return {
            part: self.get_submodule(f"{part}_projector")(self.get_submodule(name)(batch))
            for part, name in MODULES.items()
            if features.KEYS[part] in batch or towers.STATES[part] in batch
        }

    def unused(self, towers: Collection[str]) -> set[str]:
        """Names of the parameters that no answer depends on: an encoder's layers after the states that are used, and
        parts of the language model that are not its language model, such as a vision tower."""
        names = self._unused_language() if "language" in towers else set()
        for tower in {"audio", "vision"} & {*towers}:
            encoder = self.get_submodule(tower)
            names |= {f"{tower}.{name}" for name in encoder.unused()} if hasattr(encoder, "unused") else set()
        return names

    def _unused_language(self) -> set[str]:
        embeddings = self.language.get_input_embeddings().weight
        inputs = {"inputs_embeds": torch.empty(1, 2, embeddings.shape[1], dtype=torch.bfloat16, device="meta")}
        # A mask of four axes is used as it is; transformers looks at the values of one of two, which "meta" does not
        # have. Recurrent models take no mask of four axes.
        mask = {"attention_mask": torch.empty(1, 1, 2, 2, dtype=torch.bfloat16, device="meta")}
        runs = [lambda copy, more=more: copy(**inputs, **more, use_cache=False).logits for more in (mask, {})]
        names = {f"language.{name}" for name in reach.unused(self.language, *runs)}
        return names - {name for name, parameter in self.named_parameters() if parameter is embeddings}

    def encoders(self) -> dict[str, nn.Module]:
        """The pretrained encoders. Outputs of new ones are not worth keeping, since those are trained."""
        modules = {part: getattr(self, name, None) for part, name in MODULES.items()}
        pretrained = towers.PretrainedAudio | towers.PretrainedVision
        return {part: module for part, module in modules.items() if isinstance(module, pretrained)}

    def encoder_outputs(self, features_: dict[str, Any]) -> list[dict[str, dict[str, torch.Tensor]]]:
        """By clip and part: states[num_states, width], or those of all layers, before the projector, which is trained
        on top of them."""
        states = {part: tower(features_) for part, tower in self.encoders().items() if features.KEYS[part] in features_}
        return [
            {part: {"states": rows} for part, rows in zip(states, clip, strict=True)}
            for clip in zip(*states.values(), strict=True)
        ]

    def soft_token_modules(self) -> dict[str, list[nn.Module]]:
        """The modules that make the soft tokens of each part, in the order in which a clip goes through them."""
        return {
            part: [self.get_submodule(name), self.get_submodule(f"{part}_projector")]
            for part, name in MODULES.items()
            if name in self.towers
        }

    def answer_embedding(self, ids: list[int]) -> torch.Tensor:
        """[D] mean of the language model's input embeddings of the tokens."""
        embeddings = self.language.get_input_embeddings()
        return embeddings(torch.tensor(ids, device=embeddings.weight.device)).mean(0)

    @property
    def language_config(self) -> PreTrainedConfig:
        return self.language.config

    def inputs(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        embeds = self.language.get_input_embeddings()(ids.clamp(min=0))
        for part, soft in self.soft_tokens(batch).items():
            embeds = embeds.masked_scatter((ids == SOFT_TOKENS[part])[..., None], soft.to(embeds.dtype))
        return {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": text_positions(mask)}

    def logits(self, inputs: dict[str, Any], keep: int) -> torch.Tensor:
        # A language model without logits_to_keep ignores it and returns all of them.
        return self.language(**inputs, logits_to_keep=keep).logits[:, -keep:]


def load(config: ComposedConfig, *, modalities: str, cache_root: Path) -> tuple[Composed, ComposedEncoder]:
    """The model, whose new parts start from the current random state, and its encoder.

    Raises ConfigError when the language model or an encoder cannot be loaded or lacks weights, when the chat template
    is absent or cannot be used, and when the audio encoder takes shorter clips than max_seconds.
    """
    if config.trust_remote_code:
        without_code = (None, "conv", *WHEELS)
        checkpoints = [name for name in (config.language, config.audio, config.vision) if name not in without_code]
        LOG.warning(
            "model.trust_remote_code=true: Python code that comes with"
            f" {' and '.join(checkpoints) or 'no checkpoint'} is run. Nobody has checked it, and it can do whatever"
            " you can do on this machine: read it first, and keep it in a folder of your own so that it stays the same"
        )
    name = resolved("model.language", config.language, cache_root)
    with refusals("model.language", config.language, "a causal language model"):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=config.trust_remote_code)
        language = weights(AutoModelForCausalLM, "model.language", name, **towers.load_options(config))
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"model.language={config.language} has no chat template, so it does not know turns: name an"
            " instruction-tuned model"
        )
    turns = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    try:
        tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        end = end_of_turn(tokenizer, tokenizer, text_content=True)
    except (TemplateError, ValueError, TypeError) as error:
        raise ConfigError(
            f"model.language={config.language} has a chat template that cannot be used ({error}): it has to take a"
            " system turn and texts as contents; name another model"
        ) from error
    if config.audio is not None and "a" in modalities:
        config = replace(config, audio=resolved("model.audio", config.audio, cache_root))
    encoder = ComposedEncoder(config, tokenizer, modalities, end)
    return Composed(config, language, modalities, encoder.stops), encoder
