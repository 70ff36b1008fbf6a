"""Names that read alike, and names that do not."""

from __future__ import annotations

import pytest

from spatialfm._spelling import as_read


@pytest.mark.parametrize(
    "name", ["T cell", "t  Cell", " T cell ", "\ufeffT cell", "T cell\u200b", "T\xa0cell", "T\tcell", "Ｔ cell"]
)
def test_one_name_in_several_spellings(name):
    assert as_read(name) == "t cell"


def test_names_that_a_reader_tells_apart_stay_apart():
    names = ["T cell", "Tcell", "T-cell", "T cells", "Γ cell", 1, 1.0]
    assert len({as_read(name) for name in names}) == len(names)
