"""Removes a reasoning model's thoughts from its answer. Pure.

Thoughts stand between marks such as `<think>` and `</think>`:

- Text between an opening mark and the next closing mark is removed.
- A closing mark without an opening one removes everything before it, since many chat templates end the prompt with the
  opening mark.
- An opening mark without a closing one leaves no answer: the text ended within the thoughts.
"""

import re

UNCLOSED = "the answer ends within the model's thoughts: raise evaluation.max_new_tokens, or turn thinking off"
"""The reason why there is no answer where thoughts are not closed."""

# <think>, <thinking>, <seed:think>, <longcat_think>, <think_fast>, <reasoning>, <analysis>, <思考> …
_NAME = (
    r"(?:\w{1,20}[:_.-])?(?:deep|inner|internal|self)?"
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|rationale|reflect(?:ion)?|analysis|scratchpad|deliberat(?:e|ion)"
    r"|ponder(?:ing)?|monologue|cot|chain[ _-]of[ _-]thoughts?"
    r"|思考|思维|思維|推理|思路)"
    r"(?:[:_ -](?:process|step|fast|faster|slow|on|过程|過程))?(?:过程|過程)?"
)
_LEFT = r"(?:[<\uff1c\[【◁〈⟨]|&lt;)[|\uff5c]?\s{0,3}"
_RIGHT = r"\s{0,3}[|\uff5c]?(?:[>\uff1e\]】▷〉⟩]|&gt;)"
_ATTRIBUTES = r"""(?:\s{1,3}\w{1,20}\s?=\s?["']?[^<>"']{0,40}["']?)*+"""
# Marks of other forms: OpenAI's harmony format, with and without its special tokens; Gemma 4; MedGemma; Granite;
# Ollama's command line.
_OPEN = re.compile(
    rf"{_LEFT}(?:(?:begin|start)[ _-]?(?:of)?[ _-]?)?{_NAME}(?:[ _-](?:start|begin))?{_ATTRIBUTES}{_RIGHT}"
    r"|(?:<\|start\|>\s{0,3}assistant\s{0,3})?<\|channel\|?>\s{0,3}(?:analysis|commentary|thought)(?:\s{0,3}<\|message\|>)?"
    r"|\A\s*+(?-i:analysis(?=[A-Z])|thought\n)"
    r"|<unused94>(?:\s{0,3}thought)?"
    r"|here(?:'s|\u2019s| is) my thought process:"
    r"|\A\s*+thinking\.\.\.[ ]*\n",
    re.IGNORECASE,
)
_CLOSE = re.compile(
    rf"{_LEFT}\\?[/\uff0f]\s{{0,3}}{_NAME}(?:{_RIGHT}|\s*\Z)"
    rf"|{_LEFT}(?:end[ _-]?(?:of)?[ _-]?{_NAME}|{_NAME}[ _-]end){_RIGHT}"
    r"|(?:<\|start\|>\s{0,3}assistant\s{0,3})?<\|channel\|>\s{0,3}final\s{0,3}<\|message\|>"
    r"|assistantfinal"
    r"|<channel\|>"
    r"|<unused95>"
    r"|here(?:'s|\u2019s| is) my response:"
    r"|\.\.\.done thinking\.",
    re.IGNORECASE,
)
# Marks around the answer itself.
_AROUND_ANSWER = re.compile(
    r"</?\s?(?:answer|response|output|final|final_answer|solution)\s?>|<\|(?:begin|end)_of_(?:solution|box|answer)\|>"
    r"|<\|(?:end|return|START_RESPONSE|END_RESPONSE)\|>",
    re.IGNORECASE,
)
# Every mark contains one of these, and searching for them is fast.
_HINT = re.compile(
    r"think|thought|reason|rational|reflect|analysis|scratch|deliber|ponder|monolog|cot|思|推理|chan|unused", re.I
)


def is_mark(text: str) -> bool:
    """Whether `text` is a mark of thoughts and nothing else.

    >>> is_mark("<think>"), is_mark("[/THINK]"), is_mark("<|im_end|>")
    (True, True, False)
    """
    return any(pattern.fullmatch(text.strip()) for pattern in (_OPEN, _CLOSE)) or text in ("<|channel>", "<channel|>")


def ends_within(prompt: str) -> bool:
    """Whether a prompt ends with an opening mark, so that the answer starts within thoughts.

    >>> ends_within("<|im_start|>assistant\\n<think>\\n"), ends_within("<think>\\n\\n</think>\\n\\n")
    (True, False)
    """
    tail = prompt.rstrip()
    return any(match.end() == len(tail) for match in _OPEN.finditer(tail, max(0, len(tail) - 120)))


def without(text: str, within: bool = False) -> str | None:
    """An answer without thoughts; None where an opening mark is not closed. Takes time linear in the text's length.

    within: whether the prompt ended with an opening mark.

    >>> without("<think>Anger or joy?</think>sadness"), without("could be joy</think>She is angry.")
    ('sadness', 'She is angry.')
    >>> without("<think>This could be joy") is None
    True
    """
    if not within and not _HINT.search(text):
        return text
    kept: list[str] = []
    end = 0
    opened = within
    for start, stop, closes in _marks(text):
        if closes:
            if not opened:
                kept.clear()
            opened, end = False, stop
        elif not opened:
            kept.append(text[end:start])
            opened = True
    if opened:
        return None
    if end or kept:
        # Joined with a space, so that the words around a thought stay apart.
        return _AROUND_ANSWER.sub(" ", " ".join([*kept, text[end:]])).strip()
    return text


def _marks(text: str) -> list[tuple[int, int, bool]]:
    """Start, end, and whether it closes, of every mark in order."""
    marks = [(m.start(), m.end(), False) for m in _OPEN.finditer(text)]
    marks += [(m.start(), m.end(), True) for m in _CLOSE.finditer(text)]
    return sorted(marks)
