"""Reading annotation tables: what comes out, and what the refusal of every kind of damage says."""

import doctest
import re

import pytest

from affect.config import DataError
from affect.data import tables
from affect.data.problems import SHOWN, Problems, RowErrors, near
from affect.data.tables import for_spreadsheets, from_spreadsheets, read_table


def write(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def cells(path, required=("id", "text")):
    problems = Problems()
    rows = read_table(path, required, problems)
    problems.check()
    return [row.cells for row in rows]


def test_cells_are_strings_as_they_stand(tmp_path):
    path = write(tmp_path, "a.csv", ' id ,text\r\n007, “yes” \r\n8,"a, ""b"""\r\n')
    assert cells(path) == [{"id": "007", "text": " “yes” "}, {"id": "8", "text": 'a, "b"'}]


def test_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    assert cells(write(tmp_path, "a.csv", "id,text\n1,a\n", "utf-8-sig")) == [{"id": "1", "text": "a"}]


def test_tabs_separate_a_tsv(tmp_path):
    assert cells(write(tmp_path, "a.tsv", "id\ttext\n1\ta, b\n")) == [{"id": "1", "text": "a, b"}]


def test_rows_count_as_in_a_spreadsheet(tmp_path):
    problems = Problems()
    rows = read_table(write(tmp_path, "a.csv", 'id,text\n1,"two\nlines"\n\n3,c\n'), ["id"], problems)
    assert [row.source for row in rows] == ["a.csv, row 2", "a.csv, row 4"]
    assert rows[0].cells["text"] == "two\nlines"


def test_jsonl_keeps_the_spelling_of_numbers_and_fills_absent_keys(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"id": 0.10, "text": "a\u2028b"}\n\n{"id": "2", "text": null, "ok": true}\n')
    assert cells(path) == [{"id": "0.10", "text": "a\u2028b", "ok": ""}, {"id": "2", "text": "", "ok": "true"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "\n \n", "is empty"),
        ("a.csv", "id,text\n", "a header but no rows"),
        ("a.csv", "id,text,id\n1,a,2\n", "names 'id' more than once: rename"),
        ("a.csv", b"id,text\n1,caf\xe9\n", r"a.csv, line 2: byte 0xe9 is not UTF-8: save it as UTF-8"),
        ("a.csv", "id,text\n1,a\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8 but begins the byte .* of UTF-16"),
        ("a.jsonl", '{"id": 1}\n'.encode("utf-32"), "line 1: byte 0xff is not UTF-8 but begins the byte .* of UTF-32"),
        # What Excel calls Unicode text: both things that are wrong are said at once.
        (
            "a.csv",
            "id\ttext\n1\ta\n".encode("utf-16"),
            "of UTF-16 .*: save it as UTF-8. Besides, it is separated by tabs",
        ),
        ("a.csv", "id,text\n1,a\0\n", "line 2: a NUL byte"),
        ("a.csv", 'id,text\n1,"never closed\n2,b\n', r"row 2 \(ends at line 3\): unexpected end of data"),
        ("a.csv", "id;text\n1;a\n", "its only column contains ';'"),
        ("a.csv", "id,Texts\n1,a\n", r"lacks the column 'text' \(did you mean 'Texts'\?\); it has: id, Texts"),
        ("a.jsonl", '{"id": 1}\n', "lacks the column 'text'; it has: id"),
        ("a.xlsx", "PK", "has to end in .csv, .tsv, .jsonl"),
    ],
)
def test_unusable_file_is_refused(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        cells(write(tmp_path, name, content))


HEADERS = {
    ";": "semicolons",
    "\t": "tabs",
    "|": "vertical bars",
}


@pytest.mark.parametrize("separator", HEADERS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_another_separator_is_named_where_texts_have_commas(tmp_path, separator, mark, quote, end):
    lines = [["id", "text", "label"], ["1", "well, then", "joy"], ["2", "no, no, no", "joy"]]
    text = end.join(separator.join(f"{quote}{cell}{quote}" for cell in line) for line in lines) + end
    message = f"a.csv is separated by {HEADERS[separator]}: its only column contains {re.escape(repr(separator))}, and"
    with pytest.raises(DataError, match=message) as caught:
        cells(write(tmp_path, "a.csv", mark + text))
    assert "Remedy: " in str(caught.value) and "save it with commas" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert ("rename it to a.tsv, or" in str(caught.value)) == (separator == "\t")
    with pytest.raises(DataError, match=f"separated by {HEADERS[separator]}"):  # also where no column is required
        cells(tmp_path / "a.csv", ())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "id,text\n1,a\n", "is separated by commas: .* rename it to a.csv, or save it with tabs"),
        ("a.tsv", "id;text\n1;a\n", "is separated by semicolons: .* save it with tabs"),
        ("a.csv", '"id,text"\n"1,a"\n', "has its header in quotes as a whole, so that 'id,text' is one column: take"),
        ("a.csv", "sep=;\r\nid;text\r\n1;a\r\n", "begins with the line sep=;, which only spreadsheets understand"),
        # A comma in a column's name does not hide it.
        ("a.csv", "id;text;label, final\n1;a;joy\n", "is separated by semicolons: its header names id, text so"),
    ],
)
def test_other_ways_to_separate(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        cells(write(tmp_path, name, content))


def test_separators_inside_cells_are_no_separators(tmp_path):
    assert cells(write(tmp_path, "a.csv", 'id,text\n1,"a; b|c\td"\n')) == [{"id": "1", "text": "a; b|c\td"}]
    assert cells(write(tmp_path, "b.csv", "id\n1;2\n"), ["id"]) == [{"id": "1;2"}]


def test_lists_are_cells_where_they_are_asked_for(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"id": 1, "label": ["joy", "fear"]}\n{"id": 2, "label": []}\n')
    problems = Problems()
    rows = read_table(path, ["id"], problems, lists=["label"])
    assert [row.cells["label"] for row in rows] == ['["joy", "fear"]', "[]"] and not problems.found
    with pytest.raises(RowErrors, match="row 2: has a list or an object as 'label': write a string or a number"):
        cells(path, ["id"])
    write(tmp_path, "a.jsonl", '{"id": 1, "label": [{"a": 1}]}\n{"id": 1, "label": {}}\n{"id": 1, "label": "x"}\n')
    read_table(path, ["id"], problems, lists=["label"])
    assert [problem.number for problem in problems.found] == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id,text\n1\n2,b\n", "a.csv, row 2: has 1 cells where the header has 2"),
        ("a.csv", "id,text\n1,a\n2,b,c\n", "a.csv, row 3: has 3 cells where the header has 2"),
        ("a.jsonl", '{"id": 1, "text": "a"}\n{"id": \n', "a.jsonl, row 2: is not JSON"),
        ("a.jsonl", "[1]\n", "row 1: is JSON but not an object"),
        ("a.jsonl", '{"id": 1, "text": ["a"]}\n', "row 1: has a list or an object as 'text'"),
        ("a.jsonl", '{"id": 1, "text": "a", "id": 2}\n', "row 1: has the key 'id' twice"),
    ],
)
def test_bad_row_is_a_problem_with_its_number(tmp_path, name, content, message):
    with pytest.raises(RowErrors, match=message):
        cells(write(tmp_path, name, content))


def test_all_bad_rows_are_reported_together(tmp_path):
    path = write(tmp_path, "a.csv", "id,text\n" + "1\n" * (SHOWN + 1205) + "2,b\n")
    with pytest.raises(RowErrors) as caught:
        cells(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == SHOWN + 1
    assert lines[0].startswith("a.csv, row 2: ")
    assert lines[-1] == "… and 1,205 more problems"
    assert len(caught.value.sentences) == SHOWN + 1205


def test_missing_file_names_its_neighbours(tmp_path):
    write(tmp_path, "Clip.csv", "id\n1\n")
    with pytest.raises(DataError, match=r"clips.csv does not exist \(similar files there: Clip.csv\)"):
        cells(tmp_path / "clips.csv")
    with pytest.raises(DataError, match="nor does its folder"):
        cells(tmp_path / "none" / "clips.csv")


def test_folder_in_place_of_a_table(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        cells(tmp_path / "a.csv")


def test_near_ignores_case_and_rejects_strangers():
    assert near("label", ["Label", "clip"]) == "Label"
    assert near("emotion", ["clip", "text"]) is None


@pytest.mark.parametrize("value", ["[" * 100_000, '{"a": ' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_a_row_that_is_nested_without_end_is_refused_with_its_place(tmp_path, value):
    path = write(tmp_path, "a.jsonl", f'{{"id": "1", "text": "a"}}\n{{"id": "2", "text": {value}}}\n')
    with pytest.raises(RowErrors, match=r"^a\.jsonl, row 2: has lists or objects nested too deeply to be read: write"):
        cells(path)


FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://a")',
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\uff1d1+1",
    "- well, no",
    "'=1",
    "''=1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_begins_like_a_formula_gets_an_apostrophe_and_loses_it_again(text):
    cell = for_spreadsheets(text)
    assert cell == f"'{text}" and from_spreadsheets(cell) == text


@pytest.mark.parametrize("value", ["", "-", "-1.5", "+2", "1e-05", "-.5", "12 %", "'tis", "a=b", "joy", -2, 1.5, None])
def test_numbers_and_other_text_stay_as_they_are(value):
    assert for_spreadsheets(value) is value
    assert not isinstance(value, str) or from_spreadsheets(value) == value


def test_examples_in_the_docstrings_are_true():
    result = doctest.testmod(tables)
    assert result.attempted >= 2 and result.failed == 0
