"""Escapes text from outside for Markdown."""

import re


def escape_markdown(word: str) -> str:
    r"""
    >>> print(escape_markdown("a|b <c> 2*3*4 [d] [e](javascript:f)"))
    a\|b &lt;c> 2\*3\*4 [d] [e\](javascript:f)
    """
    # Brackets alone are no link; a closing one followed by a target or a definition is.
    escaped = re.sub(r"([\\|*`]|\](?=[(\[:]))", r"\\\1", one_line(word))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def code_markdown(text: str) -> str:
    """`text` as a code span in a table cell.

    >>> print(code_markdown("uar|rows:4/4"))
    `uar\\|rows:4/4`
    """
    ticks = max(map(len, re.findall("`+", text)), default=0) + 1
    space = " " if ticks > 1 else ""
    return "`" * ticks + space + one_line(text).replace("|", r"\|") + space + "`" * ticks


def one_line(text: str) -> str:
    """`text` with a space for every line end or other unprintable character (such as a carriage return), which would
    end a LaTeX comment or a Markdown cell."""
    return "".join(c if c.isprintable() else " " for c in text.replace("\r\n", " "))
