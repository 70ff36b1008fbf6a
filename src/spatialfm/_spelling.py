"""When two names are spelled differently and read alike."""

from __future__ import annotations

import unicodedata


def as_read(name: object) -> str:
    r"""A name as it is read: without case, signs that cannot be seen, and spaces that do not part words.

    Examples
    --------
    >>> as_read(" T\u200b  Cell"), as_read("t cell")
    ('t cell', 't cell')
    """
    text = unicodedata.normalize("NFKC", str(name)).replace("\ufeff", "").replace("\u200b", "")
    return " ".join(text.split()).casefold()
