"""The LaTeX of a pack: tables that fit the page, paragraphs, and the document around them."""

from collections.abc import Iterable, Mapping, Sequence

from affect.reports.formats import environment, escape_latex, latex_style
from affect.reports.paper.methods import Paragraph
from affect.reports.rows import Table
from affect.reports.sections import Section, sections


def results(table: Table) -> str:
    """All parts of a table of results. Counts that are the same in all rows stand in the caption."""
    blocks = []
    for place, part in enumerate(sections(table, latex_style())):
        caption = escape_latex(part.title)
        if place == 0 and len(table.rows) > 1:
            shared = [column for column in part.columns if column.kind == "count" and len(set(column.cells)) == 1]
            part.columns = [column for column in part.columns if column not in shared]
            caption += "".join(f"; {column.heading} {column.cells[0]}" for column in shared)
        if place == 0 and table.bold:
            caption += f". {escape_latex(table.bold)}"
        blocks.append(environment(part, caption, part.footnotes or table.footnotes, fitted=True))
    return "\n\n".join(blocks) + "\n"


def section(of: Section) -> str:
    return environment(of, escape_latex(of.title), of.footnotes, fitted=True) + "\n"


def paragraphs(told: Sequence[Paragraph]) -> str:
    return "\n\n".join(
        rf"\begin{{sloppypar}}\paragraph{{{escape_latex(heading)}.}}"
        rf" {_breakable(escape_latex(' '.join(sentences)))}\end{{sloppypar}}"
        for heading, sentences in told
    )


def _breakable(text: str) -> str:
    """Lines may end inside long words, such as signatures."""
    return text.replace(r"\textbar{}", r"\textbar{}\allowbreak{}").replace("/", r"/\allowbreak{}")


def itemised(lines: Iterable[str]) -> str:
    items = "\n".join(rf"  \item {_breakable(escape_latex(line))}" for line in lines)
    return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}" if items else ""


ALWAYS_KNOWN = "±×·…"
"""Letters that LaTeX prints in any encoding of fonts."""


def preamble(texts: Iterable[str]) -> str:
    r"""The packages, and for pdfLaTeX a stand-in for every letter of `texts` that it does not know: U+4E2D, say, for a
    Chinese one. XeLaTeX and LuaLaTeX print those that their font has."""
    letters = sorted({letter for text in texts for letter in text if not letter.isascii()} - {*ALWAYS_KNOWN})
    lines = [r"\usepackage{booktabs}", r"\usepackage{graphicx}"]
    if letters:
        lines += [
            r"\ifdefined\DeclareUnicodeCharacter",
            r"  \usepackage[T1]{fontenc}",  # which has more letters with accents than the default
            *(
                rf"  \expandafter\ifx\csname u8:\detokenize{{{letter}}}\endcsname\relax"
                rf"\DeclareUnicodeCharacter{{{ord(letter):04X}}}{{\texttt{{U+{ord(letter):04X}}}}}\fi"
                for letter in letters
            ),
            r"\fi",
        ]
    return "\n".join(lines) + "\n"


def document(tables: Sequence[str], charts: Mapping[str, str], notes: Sequence[str]) -> str:
    """`tables` are names of files, `charts` captions by name of the file."""
    inputs = [rf"\input{{{name}}}" for name in tables]
    shown = [
        "\\begin{figure}\n  \\centering\n"
        f"  \\includegraphics[width=\\linewidth]{{{name}}}\n"
        f"  \\caption{{{escape_latex(caption)}.}}\n"
        "\\end{figure}"
        for name, caption in charts.items()
    ]
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[margin=2.5cm]{geometry}",
            r"\input{preamble}",
            r"\setlength{\belowcaptionskip}{6pt}",
            r"\begin{document}",
            r"\section*{Methods}",
            r"\input{methods}",
            r"\section*{Notes}" if notes else "",
            itemised(notes),
            *inputs,
            *shown,
            r"\end{document}",
            "",
        ]
    )
