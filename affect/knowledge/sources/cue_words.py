"""Words for the measurements of acoustic.py and visual.py, in English and Chinese.

A cue that is told by its place in a population has five phrases, from lowest to highest. Cues that can be counted are
told as they are: in what share of the frames there is a face, how many cuts.
"""

from collections.abc import Iterator, Mapping, Sequence

from affect.config import near

LEVELS = 5


def _phrases(line: str) -> tuple[str, ...]:
    return tuple(line.split(" | "))


AUDIO = {
    "en": {
        "pitch": _phrases("very low pitch | low pitch | medium pitch | high pitch | very high pitch"),
        "intonation": _phrases(
            "monotonous intonation | flat intonation | moderate intonation | lively intonation | very lively intonation"
        ),
        "range": _phrases(
            "tiny pitch range | narrow pitch range | average pitch range | wide pitch range | huge pitch range"
        ),
        "contour": _phrases("steeply falling | falling | neither rising nor falling | rising | steeply rising"),
        "loudness": _phrases("very soft | soft | medium loud | loud | very loud"),
        "dynamics": _phrases(
            "very even loudness | even loudness | somewhat varying loudness | "
            "varying loudness | greatly varying loudness"
        ),
        "pace": _phrases("very slow | slow | medium pace | fast | very fast"),
        "pauses": _phrases("very few pauses | few pauses | some pauses | long pauses | very long pauses"),
        "length": _phrases("very brief | brief | of medium length | lengthy | very lengthy"),
        "brightness": _phrases("very dark timbre | dark timbre | medium timbre | bright timbre | very bright timbre"),
        "voicing": _phrases("hardly voiced | little voiced | partly voiced | mostly voiced | fully voiced"),
        "clarity": _phrases("very rough voice | rough voice | fairly clear voice | clear voice | very clear voice"),
    },
    "zh": {
        "pitch": _phrases("音高很低 | 音高较低 | 音高适中 | 音高较高 | 音高很高"),
        "intonation": _phrases("语调单一 | 语调平缓 | 语调一般 | 语调生动 | 语调十分生动"),
        "range": _phrases("音域很窄 | 音域较窄 | 音域中等 | 音域较宽 | 音域很宽"),
        "contour": _phrases("音调急剧下降 | 音调下降 | 音调平直 | 音调上升 | 音调急剧上升"),
        "loudness": _phrases("声音很轻 | 声音较轻 | 音量适中 | 声音较响 | 声音很响"),
        "dynamics": _phrases("音量十分均匀 | 音量均匀 | 音量略有起伏 | 音量起伏较大 | 音量起伏很大"),
        "pace": _phrases("语速很慢 | 语速较慢 | 语速适中 | 语速较快 | 语速很快"),
        "pauses": _phrases("停顿很少 | 停顿较少 | 有些停顿 | 停顿较长 | 停顿很长"),
        "length": _phrases("话语很短 | 话语较短 | 话语长度适中 | 话语较长 | 话语很长"),
        "brightness": _phrases("音色很暗 | 音色较暗 | 音色适中 | 音色较亮 | 音色很亮"),
        "voicing": _phrases("几乎无浊音 | 浊音较少 | 部分浊音 | 浊音较多 | 几乎全为浊音"),
        "clarity": _phrases("嗓音很沙哑 | 嗓音沙哑 | 嗓音较清晰 | 嗓音清晰 | 嗓音十分清晰"),
    },
}
"""By language and cue of acoustic.CUES, in the order in which they are told."""

VIDEO = {
    "en": {
        "faces": _phrases(
            "no face found | a face in a few frames | a face in about half of the frames | "
            "a face in most frames | a face in all frames"
        ),
        "smile": _phrases(
            "no smile found | hardly a smile | a smile half of the time | "
            "a smile most of the time | a smile all the time"
        ),
        "framing": _phrases("seen from very far | seen from afar | at medium distance | close-up | extreme close-up"),
        "head": _phrases(
            "head quite still | head nearly still | head moving somewhat | head moving | head moving quickly"
        ),
        "movement": _phrases(
            "hardly any movement | little movement | some movement | much movement | very much movement"
        ),
        "movement_low": _phrases(
            "movement at the top | movement rather at the top | movement all over | "
            "movement rather at the bottom | movement at the bottom"
        ),
        "cuts": _phrases("no cut | one cut | several cuts"),
        "brightness": _phrases(
            "very dark picture | dark picture | medium bright picture | bright picture | very bright picture"
        ),
        "contrast": _phrases("very low contrast | low contrast | medium contrast | high contrast | very high contrast"),
    },
    "zh": {
        "faces": _phrases("未检测到人脸 | 少数画面有人脸 | 约一半画面有人脸 | 多数画面有人脸 | 所有画面都有人脸"),
        "smile": _phrases("未检测到笑容 | 偶有笑容 | 一半时间在笑 | 多数时间在笑 | 一直在笑"),
        "framing": _phrases("远景 | 较远的景别 | 中景 | 近景 | 特写"),
        "head": _phrases("头部静止 | 头部几乎不动 | 头部略有移动 | 头部移动 | 头部快速移动"),
        "movement": _phrases("几乎没有动作 | 动作较少 | 有些动作 | 动作较多 | 动作很多"),
        "movement_low": _phrases("动作在上部 | 动作偏上 | 动作遍布画面 | 动作偏下 | 动作在下部"),
        "cuts": _phrases("无镜头切换 | 一次镜头切换 | 多次镜头切换"),
        "brightness": _phrases("画面很暗 | 画面较暗 | 画面亮度适中 | 画面较亮 | 画面很亮"),
        "contrast": _phrases("对比度很低 | 对比度较低 | 对比度中等 | 对比度较高 | 对比度很高"),
    },
}
"""By language and cue of visual.CUES, in the order in which they are told."""

WORDS = {"audio": AUDIO, "video": VIDEO}

SHARES = {"faces": (0.0, 0.3, 0.7), "smile": (0.0, 0.3, 0.7)}
"""Cues told as they are, a share of the frames: the phrases are for none, up to each of the others, below 1, and 1."""

_VOICELESS = ("pitch", "range", "contour", "brightness", "clarity")

NOTHING = {
    "en": dict.fromkeys(_VOICELESS, "no voice found")
    | dict.fromkeys(("smile", "framing"), "no face found")
    | {"pauses": "no pauses", "movement_low": "no movement"},
    "zh": dict.fromkeys(_VOICELESS, "未检测到人声")
    | dict.fromkeys(("smile", "framing"), "未检测到人脸")
    | {"pauses": "没有停顿", "movement_low": "没有动作"},
}
"""By language and cue, what is said, once, where there is nothing to measure. Where a cue is not here nothing is said
of it then: the intonation of a voice that never lasts, the way of a head that is seen once."""

SILENCE = {"en": "silence", "zh": "无声"}
"""All that is said of a clip without sound."""

UNSAID = {"en": "nothing could be measured", "zh": "无法测量"}
"""What is said where the chosen cues leave nothing else."""

COMMA = {"en": ", ", "zh": "、"}
STOP = {"en": ".", "zh": "。"}


def problems(chosen: Mapping[str, Sequence[str]], languages: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each thing that is wrong with what is to be told: chosen has cues by modality, languages those
    of the datasets by name."""
    for modality, cues in chosen.items():
        known = list(WORDS[modality]["en"])
        for cue in cues:
            if cue not in known:
                yield (
                    f"knowledge.cues_{modality} names '{cue}', which is not measured{near(cue, known)} Choose from"
                    f" {', '.join(known)}, or give [] for all"
                )
    for dataset, language in languages.items():
        if language not in STOP:
            yield (
                f"dataset={dataset} is in language '{language}', but knowledge=cues has words in {' and '.join(STOP)}"
                " only: choose another source of knowledge, or put the words into affect/knowledge/sources/cue_words.py"
            )


def told_as_counted(cue: str) -> bool:
    """Whether a cue is told as it is, and not by its place in a population."""
    return cue in SHARES or cue == "cuts"


def level_of_count(cue: str, value: float) -> int:
    """The phrase of a cue that is told as it is."""
    if cue == "cuts":
        return min(int(value), 2)
    if value == 1:
        return len(SHARES[cue]) + 1
    return sum(value > bound for bound in SHARES[cue])


def tell(modality: str, language: str, levels: Mapping[str, int | None], cues: Sequence[str]) -> str:
    """The text of a clip. levels: of every cue of the modality, None where there was nothing to measure; cues: those to
    be told.

    >>> tell("audio", "en", dict.fromkeys(AUDIO["en"], 4) | {"pauses": None}, ["pitch", "loudness", "pauses"])
    'Very high pitch, very loud, no pauses.'
    """
    words, nothing = WORDS[modality][language], NOTHING[language]
    phrases: list[str] = []
    for cue in words:
        level = levels[cue]
        if cue in cues and (level is not None or cue in nothing):
            phrases.append(nothing[cue] if level is None else words[cue][level])
    if modality == "audio" and levels["loudness"] is None:
        phrases = [SILENCE[language]]
    text = COMMA[language].join(dict.fromkeys(phrases)) or UNSAID[language]
    return text[0].upper() + text[1:] + STOP[language]
