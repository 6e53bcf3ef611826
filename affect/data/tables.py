"""Annotation tables: CSV, TSV and JSONL."""

import codecs
import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from affect.config import DataError
from affect.data.problems import Problems, did_you_mean

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*DELIMITERS, ".jsonl")
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
"""Separators of cells, with their names."""

WIDE_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # first, since it begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
"""Byte order marks of other encodings than UTF-8."""

_FORMULA = re.compile("'*\\s*[=+@\uff1d\uff0b\uff0d\uff20-]\\s*\\S")
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?%?\s*")


def for_spreadsheets(value: Any) -> Any:
    """A CSV cell that spreadsheets do not run as a formula: text that begins like one gets an apostrophe before it
    (OWASP, CSV Injection). Numbers and everything else stay; `from_spreadsheets` is the inverse.

    >>> for_spreadsheets("=1+1"), for_spreadsheets("-1.5"), for_spreadsheets("a=b"), for_spreadsheets(-2)
    ("'=1+1", '-1.5', 'a=b', -2)
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def from_spreadsheets(cell: str) -> str:
    """A cell without the apostrophe that `for_spreadsheets` has put before it.

    >>> from_spreadsheets("'=1+1"), from_spreadsheets("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


@dataclass(frozen=True, slots=True)
class Row:
    source: str
    """`dev_sent_emo.csv, row 3`. As a spreadsheet counts: the header is row 1, a cell with line breaks is one row."""
    number: int
    cells: dict[str, str]


def read_table(
    path: Path, required: Iterable[str], problems: Problems, *, lists: Collection[str] = (), count: int = 1
) -> list[Row]:
    """The rows of a .csv (comma), .tsv (tab) or .jsonl (an object a line) file, in order, every cell a string.

    White space around column names is removed, cells are left as they are. Empty rows are skipped but numbered. In
    JSONL a missing key or null is an empty cell, numbers keep their spelling, and in the columns `lists` a list of
    strings is a cell with its JSON. Rows that cannot be read are added to `problems`, with `count` records each, and
    left out. Raises DataError where the whole file cannot be used: absent, not UTF-8, with another separator, without
    rows, or without a `required` column.
    """
    if path.suffix.lower() not in ENDINGS:
        raise DataError(f"{path}: a table has to end in {', '.join(ENDINGS)}: save it as one of these")
    text, required = read_text(path), list(required)
    if path.suffix.lower() == ".jsonl":
        columns, rows = _jsonl(path, text, problems, lists, count)
    else:
        if wrong := _other_separator(path, text, required):
            raise DataError(f"{path} {wrong}")
        columns, rows = _separated(path, text, problems, count)
    if rows or not problems.found or path.suffix.lower() != ".jsonl":  # which has no header of its own
        require_columns(path, columns, required)
    if not rows:
        problems.check()
        raise DataError(f"{path} has a header but no rows: add the annotations, or name another file")
    return rows


def require_columns(path: Path, columns: Sequence[str], required: Iterable[str]) -> None:
    """Raises DataError where a required column is not among those of the file."""
    missing = [f"'{name}'{did_you_mean(name, columns)}" for name in required if name not in columns]
    if missing:
        raise DataError(
            f"{path} lacks the column {' and '.join(missing)}; it has: {', '.join(columns)}. Remedy: rename a column,"
            " or name yours in the dataset's options"
        )


def _other_separator(path: Path, text: str, required: Sequence[str]) -> str | None:
    """What is wrong with a .csv or .tsv whose header has another separator: a clause that follows the path. None where
    nothing is."""
    ending = path.suffix.lower()
    expected = DELIMITERS[ending]
    header = next(line for line in re.split(r"\r\n|\r|\n", text) if line.strip())
    if hint := re.fullmatch(r"\"?sep=(.)\"?[\s;,]*", header.strip("\ufeff "), re.IGNORECASE):
        name = SEPARATORS.get(hint[1], hint[1])
        return (
            f"begins with the line sep={hint[1]}, which only spreadsheets understand: delete that line, and save the"
            f" table with {SEPARATORS[expected]} ({expected!r}) between its cells instead of {name} ({hint[1]!r})"
        )

    def columns(separator: str) -> list[str]:
        return [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]

    here = columns(expected)
    if len(here) == 1 and expected in here[0]:
        return (
            f"has its header in quotes as a whole, so that {here[0]!r} is one column: take away the quotes around whole"
            " lines, which spreadsheets write when a table is pasted into one column"
        )
    if len(here) > 1 and not set(required) - set(here):
        return None
    others = {separator: columns(separator) for separator in SEPARATORS if separator != expected}
    separator = max(others, key=lambda other: len(others[other]))
    if len(here) > 1 and (not required or set(required) - set(others[separator])):
        return None
    if len(others[separator]) == 1 or (len(here) == 1 and required and not set(required) - set(here)):
        return None
    fitting = next((other for other, delimiter in DELIMITERS.items() if delimiter == separator), None)
    rename = f"rename it to {path.with_suffix(fitting).name}, or " if fitting else ""
    evidence = (
        f"its only column contains {separator!r}" if len(here) == 1 else f"its header names {', '.join(required)} so"
    )
    program = "CSV UTF-8, comma delimited" if expected == "," else "tab delimited text"
    return (
        f"is separated by {SEPARATORS[separator]}: {evidence}, and {ending} files have {expected!r} between cells."
        f" Remedy: {rename}save it with {SEPARATORS[expected]} (spreadsheets call that {program}), and texts that"
        f" contain {expected!r} in quotes"
    )


def missing_file(path: Path) -> DataError:
    """The refusal of a missing file, with similar files beside it."""
    if not path.parent.is_dir():
        return DataError(f"{path} does not exist, nor does its folder: correct the dataset's root (or data_root)")
    files = sorted(p.name for p in path.parent.iterdir())
    # Whatever the case: Clips.CSV for clips.csv.
    folded = get_close_matches(path.name.casefold(), [name.casefold() for name in files], n=3, cutoff=0.6)
    similar = [name for name in files if name.casefold() in folded]
    beside = f"similar files there: {', '.join(similar)}" if similar else "no file there has a similar name"
    return DataError(f"{path} does not exist ({beside}): correct the dataset's root, or put the file there")


def read_text(path: Path) -> str:
    """The text of a file of annotations, without a byte order mark. Raises DataError where it is absent, empty, or not
    UTF-8, with the line."""
    if not path.exists():
        raise missing_file(path)
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): a table has to be a readable file") from error
    for mark, encoding in WIDE_ENCODINGS:
        if data.startswith(mark):
            decoded = data.decode(encoding, errors="replace")
            separated = path.suffix.lower() in DELIMITERS and decoded.strip() and _other_separator(path, decoded, ())
            raise DataError(
                f"{path}, line 1: byte 0x{data[0]:02x} is not UTF-8 but begins the byte order mark of {encoding}"
                " (spreadsheets call that Unicode text): save it as UTF-8"
                f"{f'. Besides, it {separated}' if separated else ''}"
            )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8: save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}, line {line}: a NUL byte, so this is UTF-16 or damaged: save it as UTF-8")
    if not text.strip():
        raise DataError(f"{path} is empty: write a header and the annotations, or name another file")
    return text


def _separated(path: Path, text: str, problems: Problems, count: int) -> tuple[list[str], list[Row]]:
    # strict: without it, a quote that is never closed swallows the rest of the file as one cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[path.suffix.lower()], strict=True)
    columns: list[str] | None = None
    rows: list[Row] = []
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise DataError(
                f"{path}, row {number} (ends at line {reader.line_num}): {error}; a quote inside a quoted text has to"
                " be doubled, and every quote closed"
            ) from error
        source = f"{path.name}, row {number}"
        if not any(cell.strip() for cell in cells):
            continue
        if columns is None:
            columns = [name.strip() for name in cells]
            # A column without a name (a pandas index, commas at the end) cannot be asked for, so it cannot be confused.
            twice = sorted({name for name in columns if name and columns.count(name) > 1})
            if twice:
                raise DataError(
                    f"{path}: the header names {', '.join(map(repr, twice))} more than once: rename one of them"
                )
        elif len(cells) != len(columns):
            problems.add(
                source,
                f"has {len(cells)} cells where the header has {len(columns)}: put texts that contain the separator in"
                " quotes, and leave no cell out",
                count=count,
                number=number,
            )
        else:
            rows.append(Row(source, number, dict(zip(columns, cells, strict=True))))
    assert columns is not None
    return columns, rows


def _jsonl(
    path: Path, text: str, problems: Problems, lists: Collection[str], count: int
) -> tuple[list[str], list[Row]]:
    rows: list[Row] = []
    # Not splitlines(): it also breaks at U+2028, which may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        source = f"{path.name}, row {number}"
        try:
            # Pairs instead of a dict, because a dict would hide a key that is given twice.
            pairs = json.loads(line, object_pairs_hook=tuple, parse_float=str, parse_int=str, parse_constant=str)
        except json.JSONDecodeError as error:
            problems.add(
                source,
                f"is not JSON ({error.msg}, column {error.colno}): write one object a line",
                count=count,
                number=number,
            )
            continue
        except RecursionError:
            problems.add(
                source,
                "has lists or objects nested too deeply to be read: write strings and numbers alone",
                count=count,
                number=number,
            )
            continue
        if not isinstance(pairs, tuple):
            problems.add(source, 'is JSON but not an object: write {"column": "value", …}', count=count, number=number)
            continue
        cells: dict[str, str] = {}
        wrong = []
        for key, value in pairs:
            if key in cells:
                wrong.append(f"has the key '{key}' twice: leave one out")
            if isinstance(value, list) and key.strip() in lists and all(isinstance(item, str) for item in value):
                value = json.dumps(value, ensure_ascii=False)
            if isinstance(value, (list, tuple)):
                wrong.append(f"has a list or an object as '{key}': write a string or a number")
            cells[key.strip()] = _cell(value)
        for sentence in wrong:
            problems.add(source, sentence, count=count, number=number)
        if not wrong:
            rows.append(Row(source, number, cells))
    columns = list(dict.fromkeys(key for row in rows for key in row.cells))
    empty = dict.fromkeys(columns, "")
    return columns, [Row(row.source, row.number, empty | row.cells) for row in rows]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
