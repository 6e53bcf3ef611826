"""Words of transcripts and descriptions."""

import re

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""The unit in which transcripts and descriptions are cut and masked. Kana and Chinese characters, which have no spaces,
count one by one."""

MASK = "___"
"""What stands for a word that is masked."""
