"""Hashes of published transcripts, against which a copy of the annotations is compared."""

import base64
import hashlib
import json
import unicodedata
from pathlib import Path

from affect.data import readers
from affect.data.facts import Ids
from affect.data.record import Record

FOLDER = Path(__file__).parent / "readers" / "texts"
"""A file per reader, where the published texts are known: the published files that were hashed, and `hashes`, the
`text_hash` of every record that the reader gives for them (default options, all splits), sorted, concatenated, in
base64. The texts cannot be recovered. A test computes them again where the files are."""

HASH_BYTES = 3

TYPOGRAPHY = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4`", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)
"""Quotes and dashes that editors and copies replace by those of ASCII."""


def normalised(text: str) -> str:
    """A transcript without what copies of a table change harmlessly: the shape of quotes and dashes, and white space.

    >>> normalised(" It\u2019s \u201cfine\u201d \u2014 really\u2026")
    'It\'s "fine" - really...'
    """
    return " ".join(unicodedata.normalize("NFKC", text.translate(TYPOGRAPHY)).split())


def text_hash(record: Record, reader: str) -> bytes:
    """The first HASH_BYTES bytes of sha256 of "id\\ntext": the id without dataset, and without split unless ids restart
    in each; the text `normalised`."""
    local_id = record.id.removeprefix(f"{record.dataset}/")
    if readers.constant(reader, "IDS", Ids.dataset) is not Ids.split:
        local_id = local_id.removeprefix(f"{record.split}/")
    return hashlib.sha256(f"{local_id}\n{normalised(record.text)}".encode()).digest()[:HASH_BYTES]


def text_hashes(reader: str) -> frozenset[bytes] | None:
    """`text_hash` of every published record; None where it is unknown. Since the hashes are short, one to nine of
    10,000 texts that differ pass for published ones."""
    path = FOLDER / f"{reader}.json"
    if not path.is_file():
        return None
    data = base64.b64decode(json.loads(path.read_text(encoding="utf-8"))["hashes"])
    return frozenset(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
