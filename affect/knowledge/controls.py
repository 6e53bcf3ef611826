"""Controls of descriptions: those of other clips, wording alone, exchanged modalities, masked labels.

shuffled             the descriptions of another clip of the same dataset and split: their form stays, what they say of
                     this clip goes
empty                their wording with nothing in it: what is left is the longer prompt
mismatched_modality  the description of the video where that of the audio is announced, and the other way round
masked               all that names a label is masked (naming.py): what is left is what the answer was not read off from
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from affect.config import Config, Control, ControlSplit, DataError, Kind, Task
from affect.data import Record
from affect.knowledge.naming import Vocabulary, masked, normalised

if TYPE_CHECKING:
    from affect.data.part import Part


MASK = "___"

# What a word of a label is looked up in: synonyms of one idea, by language. In English whole words and their inflected
# forms (naming.py), so that a stemmer's forms need not be here; any substring in Chinese. A denial that is one word
# stands with the idea it means. An idea may share words with another.
SYNONYMS: dict[str, dict[str, str]] = {
    "neutral": {
        "en": "neutral, neutrally, neutrality, emotionless, unemotional, expressionless, impassive, deadpan",
        "zh": "中性, 中立, 平静, 平淡, 无情绪, 没有情绪, 面无表情",
    },
    "calm": {
        "en": "calm, calmly, calmness, relaxed, serene, serenely, peaceful, peacefully, tranquil, composed, placid",
        "zh": "平静, 冷静, 镇定, 安详, 沉着, 放松, 从容",
    },
    "happy": {
        "en": "happy, happily, happiness, happier, happiest, joy, joyful, joyfully, joyous, glad, gladly, gladden,"
        " cheer, cheerful, cheerfully, cheerfulness, delight, delighted, delightful, elated, merry, pleased, jolly,"
        " gleeful, rejoice, overjoyed, jubilant, ecstatic, blissful",
        "zh": "高兴, 开心, 快乐, 喜悦, 愉快, 欢乐, 欣喜, 欢喜, 幸福, 愉悦, 兴高采烈, 欢快, 喜气洋洋, 欣慰",
    },
    "excited": {
        "en": "excited, excitedly, excitement, exciting, thrilled, enthusiastic, enthusiasm, exhilarated, eager",
        "zh": "兴奋, 激动, 热情, 振奋",
    },
    "sad": {
        "en": "sad, sadly, sadness, sadder, saddest, sadden, sorrow, sorrowful, sorrowfully, unhappy, unhappily,"
        " unhappiness, gloom, gloomy, depressed, depression, melancholy, melancholic, misery, miserable, grief, grieve,"
        " grieving, mourn, mournful, dejected, downcast, despondent, heartbroken",
        "zh": "悲伤, 伤心, 难过, 悲痛, 忧伤, 哀伤, 忧郁, 沮丧, 悲哀, 失望, 痛苦, 难受, 不高兴, 不开心, 不快乐",
    },
    "angry": {
        "en": "angry, angrily, anger, angrier, angriest, mad, furious, furiously, fury, infuriated, rage, raging,"
        " enraged, irate, annoyed, annoyance, irritated, irritation, outraged, outrage, indignant, livid, wrath,"
        " incensed",
        "zh": "愤怒, 生气, 恼怒, 气愤, 发火, 恼火, 暴怒, 怒气, 愤慨",
    },
    "frustrated": {
        "en": "frustrated, frustration, frustrating, exasperated, exasperation, discouraged",
        "zh": "沮丧, 挫败, 受挫, 懊恼",
    },
    "fearful": {
        "en": "fearful, fearfully, fear, afraid, scared, scary, fright, frightened, terrified, terror, panic, panicked,"
        " dread, anxious, anxiously, anxiety, nervous, nervously",
        "zh": "恐惧, 害怕, 惊恐, 恐慌, 畏惧, 惧怕, 焦虑",
    },
    "worried": {
        "en": "worried, worriedly, worry, worrying, concerned, concern, anxious, anxiously, anxiety, uneasy, nervous",
        "zh": "担忧, 担心, 忧虑, 焦虑, 不安, 忧心",
    },
    "disgusted": {
        "en": "disgust, disgusted, disgustedly, disgusting, revulsion, repulsed, revolted, repelled, loathing,"
        " aversion",
        "zh": "厌恶, 反感, 恶心, 嫌恶, 讨厌",
    },
    "contempt": {
        "en": "contempt, contemptuous, contemptuously, scorn, scornful, disdain, disdainful",
        "zh": "轻蔑, 蔑视, 鄙视, 不屑",
    },
    "surprised": {
        "en": "surprise, surprised, surprising, surprisingly, astonished, astonishment, amazed, amazement, startled,"
        " shocked, shock, stunned",
        "zh": "惊讶, 吃惊, 惊奇, 诧异, 震惊, 惊喜, 意外",
    },
    "positive": {
        "en": "positive, positively, positivity, pleasant, favourable, favorable, optimistic, upbeat",
        "zh": "积极, 正面, 乐观, 正向, 正性, 满意, 赞赏, 喜欢, 喜爱",
    },
    "negative": {
        "en": "negative, negatively, negativity, unpleasant, unfavourable, unfavorable, pessimistic",
        "zh": "消极, 负面, 悲观, 负向, 负性, 不满, 失望, 糟糕, 痛苦",
    },
    "sarcastic": {
        "en": "sarcastic, sarcastically, sarcasm, ironic, ironically, irony, mocking, mockingly, mockery, sardonic,"
        " insincere",
        "zh": "讽刺, 反讽, 嘲讽, 挖苦, 嘲弄",
    },
    "ridicule": {
        "en": "ridicule, ridiculing, ridiculed, mocking, mockingly, mockery, derision, derisive, jeering",
        "zh": "嘲笑, 嘲弄, 讥笑, 奚落",
    },
    "sincere": {
        "en": "sincere, sincerely, sincerity, earnest, earnestly, genuine, genuinely, heartfelt",
        "zh": "真诚, 诚恳, 真挚, 认真",
    },
    "humorous": {
        "en": "humorous, humorously, humor, humour, funny, comic, comical, comedic, comedy, joke, joking, jokingly,"
        " amusing, amused, hilarious, witty, playful",
        "zh": "幽默, 搞笑, 好笑, 滑稽, 逗趣, 有趣, 玩笑, 诙谐",
    },
    "serious": {
        "en": "serious, seriously, seriousness, solemn, solemnly, gravely, unfunny, humourless, humorless",
        "zh": "严肃, 认真, 正经, 庄重",
    },
    "complain": {
        "en": "complain, complains, complaining, complaint, complained, grumble, grumbling",
        "zh": "抱怨, 埋怨, 发牢骚",
    },
    "praise": {
        "en": "praise, praises, praising, praised, compliment, complimenting, admire, admiring, admiration",
        "zh": "赞扬, 表扬, 称赞, 夸奖",
    },
    "apologise": {
        "en": "apologise, apologises, apologising, apologize, apologizes, apologizing, apology, apologetic, sorry",
        "zh": "道歉, 抱歉, 致歉",
    },
    "thank": {"en": "thank, thanks, thanking, thankful, grateful, gratitude", "zh": "感谢, 感激, 道谢"},
    "criticize": {
        "en": "criticize, criticizes, criticizing, criticise, criticising, criticism, critical, blame, blaming, scold,"
        " scolding",
        "zh": "批评, 指责, 责备",
    },
    "care": {"en": "care, cares, caring, concern, concerned", "zh": "关心, 关怀"},
    "agree": {"en": "agree, agrees, agreeing, agreement, consent", "zh": "同意, 赞同, 赞成"},
    "taunt": {"en": "taunt, taunts, taunting, tease, teasing, mocking, mockery", "zh": "嘲讽, 奚落"},
    "flaunt": {"en": "flaunt, flaunts, flaunting, boast, boasting, boastful, brag, bragging", "zh": "炫耀, 吹嘘"},
    "oppose": {
        "en": "oppose, opposes, opposing, opposed, opposition, disagree, disagreeing, disagreement",
        "zh": "反对, 不同意, 不赞成",
    },
    "inform": {"en": "inform, informs, informing", "zh": "告知, 通知"},
    "advise": {
        "en": "advise, advises, advising, advice, suggest, suggesting, suggestion, recommend, recommending",
        "zh": "建议, 劝告",
    },
    "arrange": {"en": "arrange, arranges, arranging, arrangement, organise, organising", "zh": "安排"},
    "introduce": {"en": "introduce, introduces, introducing, introduction", "zh": "介绍"},
    "comfort": {
        "en": "comfort, comforts, comforting, console, consoling, reassure, reassuring, soothe, soothing",
        "zh": "安慰, 安抚",
    },
    "leave": {"en": "leave, leaves, leaving, goodbye, farewell, depart, departing", "zh": "离开, 告别"},
    "prevent": {"en": "prevent, prevents, preventing, discourage, dissuade", "zh": "阻止, 劝阻"},
    "greet": {"en": "greet, greets, greeting, hello, welcome, welcoming", "zh": "问候, 打招呼"},
    "ask for help": {
        "en": "ask for help, asks for help, asking for help, request help, requesting help, plead, pleading",
        "zh": "求助, 请求帮助",
    },
}

_IDEAS = {
    name: frozenset(normalised(word.strip()) for words in by_language.values() for word in words.split(","))
    for name, by_language in SYNONYMS.items()
}

VALENCE = {
    "negative": ("sad", "angry", "frustrated", "fearful", "worried", "disgusted", "contempt", "ridicule", "complain"),
    "neutral": (),
    "positive": ("happy", "excited", "praise", "thank"),
}
"""Ideas whose words tell the sentiment of whom they are said of, by polarity."""


def control(parts: "Sequence[Part]", cfg: Config) -> dict[str, int]:
    """Puts what knowledge.control asks for in the place of the descriptions of all parts, or, with
    knowledge.control_split=test, of those of the split that is evaluated. Gives how many clips it was done to, and how
    many words were masked. Raises DataError as `controlled` does."""
    done = {"clips": 0, "masked_words": 0}
    if cfg.knowledge.control is Control.none:
        return done
    for part in parts:
        if cfg.knowledge.control_split is ControlSplit.test and part.split != cfg.evaluation.split:
            continue
        dataset = cfg.datasets[part.dataset]
        tasks = [dataset.task_definitions[name] for name in dataset.tasks]
        before = part.records
        part.records = controlled(before, tasks, cfg.knowledge.control, cfg.seed)
        done["clips"] += sum(bool(record.knowledge) for record in before)
        if cfg.knowledge.control is Control.masked:
            words = [vocabulary(task) for task in tasks]
            done["masked_words"] += sum(masked(text, words, MASK)[1] for r in before for text in r.knowledge.values())
    return done


def controlled(records: Sequence[Record], tasks: Sequence[Task], kind: Control, seed: int) -> list[Record]:
    """The records of one dataset and split with what `kind` puts in the place of their descriptions; those without any
    stay as they are. Raises DataError where a shuffle finds no other clip, and where there are not two modalities to
    mismatch."""
    if kind is Control.none:
        return list(records)
    if kind is Control.shuffled:
        return _shuffled(records, seed)
    if kind is Control.empty:
        return [replace(record, knowledge=dict.fromkeys(record.knowledge, "")) for record in records]
    if kind is Control.mismatched_modality:
        return [_mismatched(record) for record in records]
    words = [vocabulary(task) for task in tasks]
    return [
        replace(record, knowledge={name: masked(text, words, MASK)[0] for name, text in record.knowledge.items()})
        for record in records
    ]


def _shuffled(records: Sequence[Record], seed: int) -> list[Record]:
    """Every clip gets all descriptions of one other clip, and every clip gives its own away once."""
    kinds = defaultdict(list)
    for record in sorted(records, key=lambda record: record.id):
        if record.knowledge:
            kinds[tuple(sorted(record.knowledge))].append(record)
    giver: dict[str, Record] = {}
    for names, alike in kinds.items():
        if len(alike) < 2:
            raise DataError(
                f"{alike[0].source or alike[0].id}: {alike[0].id} is the only clip of its split with descriptions of"
                f" {' and '.join(names)}, and knowledge.control=shuffled gives it those of another: use more clips, or"
                " another control"
            )
        # Sattolo's algorithm: a single cycle through all clips, so that none keeps its own (Sattolo, 1986).
        order = list(alike)
        draw = random.Random(f"{seed}/{alike[0].dataset}/{alike[0].split}/{'/'.join(names)}")
        for i in range(len(order) - 1, 0, -1):
            j = draw.randrange(i)
            order[i], order[j] = order[j], order[i]
        giver |= {record.id: other for record, other in zip(alike, order, strict=True)}
    return [replace(r, knowledge=giver[r.id].knowledge) if r.knowledge else r for r in records]


def _mismatched(record: Record) -> Record:
    if not record.knowledge:
        return record
    if not {"audio", "video"} <= set(record.knowledge):
        raise DataError(
            f"{record.source or record.id}: {record.id} has a description of its {' and '.join(record.knowledge)} only,"
            " and knowledge.control=mismatched_modality exchanges those of audio and video: set"
            " prompting.descriptions=[audio,video], or another control"
        )
    exchanged = {"audio": record.knowledge["video"], "video": record.knowledge["audio"]}
    return replace(record, knowledge={**record.knowledge, **exchanged})


POLARITIES = ("negative", "neutral", "positive")
"""What an intensity has instead of labels: below, at and above the middle of its range."""


def words_by_label(task: Task) -> dict[str, frozenset[str]]:
    """By label, its words in all languages and their synonyms, normalised; by POLARITIES for an intensity. A label that
    means a polarity has the words of emotions of that polarity too. A word of one label is never a synonym of
    another."""
    labels = POLARITIES if task.kind is Kind.intensity else task.labels
    own = {label: own_words(task, label) for label in labels}
    made = {}
    for label, words in own.items():
        of_others = set().union(*(others for other, others in own.items() if other != label))
        ideas = {name for name, idea in _IDEAS.items() if idea & words}
        ideas |= {name for polarity in ideas & VALENCE.keys() for name in VALENCE[polarity]}
        synonyms = {word for name in ideas for word in _IDEAS[name]}
        made[label] = frozenset(words | (synonyms - of_others))
    return made


def own_words(task: Task, label: str) -> set[str]:
    """The label and the words that stand for it, normalised; a label that is a number is no word of a description."""
    words = {label, *(words[label] for words in task.words.values() if label in words)}
    return {normalised(word) for word in words if not re.fullmatch(r"[\d.+-]*", word)}


def vocabulary(task: Task) -> Vocabulary:
    """What names the labels of a task. Words of the sentiment lexicon do so where the labels are polarities, which an
    intensity has instead of labels; elsewhere every second word would."""
    words = words_by_label(task)
    own = {word for label in words for word in own_words(task, label)}
    if task.kind is Kind.intensity:
        assert task.low is not None and task.high is not None
        return Vocabulary(words=words, own=own, scale=(task.low, task.high), sides=POLARITIES)
    sides = [next((label for label in words if polarity in own_words(task, label)), None) for polarity in POLARITIES]
    negative, neutral, positive = sides
    polar = None if negative is None or positive is None else (negative, neutral or "", positive)
    return Vocabulary(words=words, own=own, options=tuple(task.labels), sides=polar)


def mask(text: str, tasks: Iterable[Task]) -> tuple[str, int]:
    """`text` with MASK in the place of all that names a label of one of the tasks, and how often.

    >>> mask("An angry voice, saddened at the end", [Task(name="emotion", labels=["anger", "sadness"])])
    ('An ___ voice, ___ at the end', 2)
    """
    return masked(text, [vocabulary(task) for task in tasks], MASK)
