"""The messages that ask for a description, shared by `mllm` and `server`. Pure: no model, no media."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from affect.config import DESCRIPTIONS, ConfigError, KnowledgeConfig
from affect.data import Record
from affect.data.media import VERSION as DECODER
from affect.knowledge.protocol import request_hash


def request(messages: list[dict]) -> str:
    """See Describer.request: hash of the messages and the decoder's version, since other frames or samples are another
    request too. Number and size of frames are in the generator's fingerprint."""
    return request_hash({"messages": messages, "decoder": DECODER})


def instruction(modality: str, language: str, knowledge: KnowledgeConfig) -> str:
    """The instruction for `modality` (a key of DESCRIPTIONS) in `language`, without the transcript."""
    text = _wording(modality, knowledge)[language]
    if knowledge.by_aspects:
        joint = "、" if language == "zh" else ", "
        names = joint.join(_aspects(modality, language, knowledge))
        text += knowledge.instruction_aspects[language].format(aspects=names)
    return text


def messages(record: Record, modality: str, knowledge: KnowledgeConfig) -> list[dict]:
    """One user turn: the media of `modality` and the instruction in the record's language. It has the transcript only
    with knowledge.show_transcript, and never the labels."""
    letters = DESCRIPTIONS[modality]
    parts: list[dict] = [{"type": kind} for letter, kind in (("v", "video"), ("a", "audio")) if letter in letters]
    text = instruction(modality, record.language, knowledge)
    if knowledge.show_transcript:
        text = knowledge.instruction_transcript[record.language].format(text=record.text) + text
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def fingerprinted(knowledge: KnowledgeConfig) -> dict[str, Any]:
    """The wording and generation settings that change a text, for a generator's fingerprint."""
    words: dict[str, Any] = {modality: _wording(modality, knowledge) for modality in DESCRIPTIONS}
    if knowledge.by_aspects:
        words["aspects"] = [knowledge.instruction_aspects, knowledge.aspects_audio, knowledge.aspects_video]
    if knowledge.show_transcript:
        words["transcript"] = knowledge.instruction_transcript
    decoding = {"max_new_tokens": knowledge.max_new_tokens, "temperature": knowledge.temperature}
    if knowledge.temperature > 0:
        decoding["seed"] = knowledge.sampling_seed
    return {"wording": words, "decoding": decoding}


def check(knowledge: KnowledgeConfig, modalities: Sequence[str], languages: Iterable[str]) -> None:
    """Raises ConfigError, with a sentence for each mistake, where wording for `modalities` in `languages` is missing or
    broken."""
    problems = list(_problems(knowledge, modalities, sorted(set(languages))))
    if problems:
        raise ConfigError("\n".join(problems))


def _problems(knowledge: KnowledgeConfig, modalities: Sequence[str], languages: list[str]) -> Iterator[str]:
    wanted: dict[str, dict[str, Any]] = {f"instruction_{m}": _wording(m, knowledge) for m in modalities}
    if knowledge.by_aspects:
        wanted["instruction_aspects"] = knowledge.instruction_aspects
        letters = "".join(DESCRIPTIONS[m] for m in modalities)
        wanted |= {"aspects_audio": knowledge.aspects_audio} if "a" in letters else {}
        wanted |= {"aspects_video": knowledge.aspects_video} if "v" in letters else {}
    if knowledge.show_transcript:
        wanted["instruction_transcript"] = knowledge.instruction_transcript
    for key, wording in wanted.items():
        for language in languages:
            if language not in wording or not wording[language]:
                yield (
                    f"a dataset is in language '{language}', but knowledge.{key} has no text in it: add"
                    f" +knowledge.{key}.{language}=…"
                )
    placeholders = (("instruction_aspects", "aspects"), ("instruction_transcript", "text"))
    for key, placeholder in (pair for pair in placeholders if pair[0] in wanted):
        for language, template in wanted[key].items():
            try:
                filled = template.format(**{placeholder: "\0"})
            except (KeyError, IndexError, ValueError) as error:
                yield f"knowledge.{key}.{language} has a placeholder that is not {{{placeholder}}}: {error}"
                continue
            if "\0" not in filled:
                yield (
                    f"knowledge.{key}.{language} lacks its placeholder {{{placeholder}}}: add it where the text belongs"
                )


def _wording(modality: str, knowledge: KnowledgeConfig) -> dict[str, str]:
    return {
        "audio": knowledge.instruction_audio,
        "video": knowledge.instruction_video,
        "audio_video": knowledge.instruction_audio_video,
    }[modality]


def _aspects(modality: str, language: str, knowledge: KnowledgeConfig) -> list[str]:
    lists = {"a": knowledge.aspects_audio, "v": knowledge.aspects_video}
    return [name for letter in DESCRIPTIONS[modality] for name in lists[letter][language]]
