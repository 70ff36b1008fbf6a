"""Text tables as spreadsheets, locales and programs write them: every cell is what was written, or it is reported."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import InputFileError, SpatialfmWarning
from spatialfm.pp import tables
from spatialfm.pp.tables import parse_cells, parse_columns, read_header, read_table, read_text

TEXT = "patient,age,Größe,os_days,event,site\n001,61,1.5,10.5,TRUE,Malmö\n1,48,2.25,,FALSE,Orléans\nNA,50,3,7,TRUE,ß\n"


def check(frame):
    assert list(frame) == ["patient", "age", "Größe", "os_days", "event", "site"]
    assert frame["patient"].tolist() == ["001", "1", "NA"]
    assert frame["age"].tolist() == [61, 48, 50]
    assert frame["Größe"].tolist() == [1.5, 2.25, 3.0]
    np.testing.assert_array_equal(frame["os_days"], [10.5, np.nan, 7])
    assert frame["event"].tolist() == [True, False, True]
    assert frame["event"].dtype == bool
    assert frame["site"].tolist() == ["Malmö", "Orléans", "ß"]


def quiet(path, identifiers=("patient",)):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_table(path, identifiers)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, newline):
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT.replace("\n", newline).encode(encoding))
    check(quiet(path))


def test_windows_1252_is_read_and_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT.encode("cp1252"))
    with pytest.warns(SpatialfmWarning, match=r"a\.csv.*not UTF-8.*Windows-1252.*'Größe', 'Malmö', 'Orléans'.*UTF-8"):
        check(read_table(path, ["patient"]))


@pytest.mark.parametrize(
    ("suffix", "separator"), [("csv", ";"), ("txt", ";"), ("csv", "\t"), ("tsv", "\t"), ("csv", "|")]
)
def test_separators(tmp_path, suffix, separator):
    path = tmp_path / f"a.{suffix}"
    path.write_text(TEXT.replace(",", separator), encoding="utf-8")
    check(quiet(path))


def test_what_a_german_excel_saves(tmp_path):
    path = tmp_path / "a.csv"
    content = TEXT.replace(",", ";").replace("1.5", "1,5").replace("2.25", "2,25").replace("10.5", "10,5")
    path.write_bytes(("sep=;\r\n" + content.replace("\n", "\r\n") + ";;;;;\r\n").encode("utf-8-sig"))
    check(quiet(path))


def test_empty_columns_and_rows_at_the_end_and_quotes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('sample,note,,\n a ,"x, ""y"", z",,\n\nb,"two\nlines",,\n,,,\n')
    frame = quiet(path, ["sample"])
    assert list(frame) == ["sample", "note"]
    assert frame.to_numpy().tolist() == [["a", 'x, "y", z'], ["b", "two\nlines"]]


def test_row_names_as_r_writes_them(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text('"age"\t"sex"\n"p1"\t61\t"f"\n"p2"\t48\t"m"\n')
    frame = quiet(path)
    assert frame["age"].tolist() == [61, 48]
    assert frame["sex"].tolist() == ["f", "m"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["007", "012"], ["007", "012"]),  # codes of sites
        (["7", "012"], ["7", "012"]),
        (["0", "10"], [0, 10]),
        (["0.5", "1e-3"], [0.5, 0.001]),
        (["1", ""], [1, np.nan]),
        (["n/a", "3"], [np.nan, 3]),
        (["12345678901234567", "12345678901234568"], ["12345678901234567", "12345678901234568"]),
        (["true", "False"], [True, False]),
        (["TRUE", ""], [True, None]),
        (["2020-01-02", "2021-03-04"], ["2020-01-02", "2021-03-04"]),
        (["yes", "no"], ["yes", "no"]),
        (["", ""], [np.nan, np.nan]),
    ],
)
def test_values(tmp_path, values, expected):
    path = tmp_path / "a.csv"
    path.write_text("id,x\n" + "".join(f"r{i},{value}\n" for i, value in enumerate(values)))
    found = quiet(path)["x"]
    for a, b in zip(found, expected, strict=True):
        assert (pd.isna(a) and pd.isna(b)) or (a == b and isinstance(a, str) == isinstance(b, str))


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("id\tdays", ["a\t1,234", "b\t2,000", "c\t15"], r"'days' \('1,234': is ',' a decimal sign or does it part"),
        ("id;days;age", ["a;1.234;1,5", "b;2.000;2,5"], r"'days' \('1.234': is '\.' a decimal sign"),
        ("id,days", ["a,12", "b,unknown", "c,14", "d,3", "e,5"], r"'days' \('unknown' among 4 numbers\)"),
        ("id,days", ["a,12", "b,#REF!", "c,14", "d,3"], r"'days' \('#REF!' among 3 numbers\)"),
        ("id\tdays", ["a\t1,5", "b\t2.5"], "decimal points and commas in one column"),
    ],
)
def test_numbers_that_cannot_be_read_as_such_are_said(tmp_path, header, rows, said):
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    with pytest.warns(SpatialfmWarning, match=said) as caught:
        frame = read_table(path)
    assert len(caught) == 1
    assert frame["days"].map(type).eq(str).all()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"a,b,a\n1,2,3\n", "2 columns named 'a'"),
        (b"a,b\n1,2\n1,2,3\n", "Row 2 .*has 3 cells, but the header has 2"),
        (b"PK\x03\x04\0\0\0\0\x08\0", "not a text file.*CSV UTF-8"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, content, parts):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputFileError, match=parts):
        read_table(tmp_path / "a.csv")


def test_clinical_columns_from_a_german_file(tmp_path):
    cells = AnnData(obs=pd.DataFrame({"patient": ["001", "1", "NA"]}, index=list("abc")))
    content = TEXT.replace(",", ";").replace("10.5", "10,5")
    (tmp_path / "clinic.csv").write_bytes(content.encode("utf-16"))
    sfm.pp.add_clinical(cells, tmp_path / "clinic.csv", on="patient")
    assert cells.obs["age"].tolist() == [61, 48, 50]
    np.testing.assert_array_equal(cells.obs["os_days"], [10.5, np.nan, 7])


@pytest.mark.parametrize(
    "text",
    [
        "# exported by somebody, today\nname,age\na,1\nb,2\n",
        "## exported, today\n\n# once more\nname,age\na,1\nb,2\n",
        "#Name\tAge\n#STRING\tNUMBER\n#1\t1\nname\tage\na\t1\nb\t2\n",  # cBioPortal's clinical files
        "name;age\na;1\n# second batch\nb;2\n",
        "sep=;\nname;age\na;1\n# second batch;\nb;2\n",
    ],
)
def test_remarks_are_no_rows(tmp_path, text):
    (tmp_path / "t.tsv").write_text(text, encoding="utf-8")
    frame = read_table(tmp_path / "t.tsv")
    assert frame.to_dict("list") == {"name": ["a", "b"], "age": [1, 2]}


@pytest.mark.parametrize("before", ["", "## format 4\n"])
def test_a_header_may_begin_with_a_hash_and_so_may_a_name(tmp_path, before):
    (tmp_path / "t.csv").write_text(before + "#name,age\na,1\n#2,2\n", encoding="utf-8")
    assert read_table(tmp_path / "t.csv").to_dict("list") == {"#name": ["a", "#2"], "age": [1, 2]}


def test_first_lines_alone_are_read(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("a;b\n" + "".join(f"{i};{i},5\n" for i in range(200)), encoding="utf-16")
    assert read_header(path) == ["a", "b"]
    pd.testing.assert_frame_equal(
        read_table(path, n_lines=11), pd.DataFrame({"a": range(10), "b": np.arange(10) + 0.5})
    )
    path.write_text("a,b\n1,2\n" * 30 + '"not closed,3\n', encoding="utf-8")  # beyond the lines that are looked at
    assert read_header(path) == ["a", "b"]


ODD = [
    "a,b\n1,2\n", "a,b\n1,2", "a,b\n\n1,2\n\n\n3,4\n", " a , b \n 1 ,\t2\n", "a,b\n1,\u200b2\n", "a,b,\n1,2,\n",
    "a,b,\n1,2,3\n", ",b\n1,2\n", "a,b\nr1,1,2\nr2,3,4\n", 'a,b\n"1","x,y"\n', 'a,b\n"1","x\ny"\n"2","z"\n',
    'a,b\n1,"x""y"\n', 'a,b\n1,"x\x0by"\n', "a,b\n# no row,\n1,2\n#2,3\n", "a,b\n1\n2,3\n", "a,b\n,\n1,2\n",
    "a,b\n,2\n", "sep=;\na;b\n1,5;2\n", "# made by x\na,b\n1,2\n", "#a,b\n1,2\n", "a;b\n1,5;x\n2,25;y\n",
    "a\n1\n2\n", "a,b\r\n1,2\r\n", "a,b\r1,2\r", "Größe\tb\n1\t2\n", "a,b\n1,\x1f2\n",
    'a,b\nx,"1\n"\ny,2\n',
]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_a_table_parted_as_a_whole_is_the_one_parted_row_by_row(text, tmp_path):
    header, rows, separator = parse_cells(text, tmp_path)
    names, columns, again = parse_columns(text, tmp_path)
    assert (names, again) == (header, separator)
    assert [list(column) for column in columns] == [[row[i] for row in rows] for i in range(len(header))]


def test_even_tables_of_random_cells_are_parted_alike(tmp_path):
    rng = np.random.default_rng(0)
    cells = [
        "",
        "x",
        " x ",
        "0",
        "007",
        "1.5",
        "-2",
        "#3",
        '"a, b"',
        '"c ""d"" e"',
        "\xa0y",
        "z\x0b",
        "é",
        "1e3",
        "TRUE",
    ]
    looked_at = 0
    for _ in range(300):
        width, height = rng.integers(2, 5), rng.integers(1, 6)
        lines = [",".join(f"n{i}" for i in range(width))]
        lines += [",".join(rng.choice(cells, width)) for _ in range(height)]
        text = "\n".join(lines) + rng.choice(["", "\n"])
        header, rows, _ = parse_cells(text, tmp_path)
        names, columns, _ = parse_columns(text, tmp_path)
        assert names == header
        assert [list(row) for row in zip(*columns, strict=True)] == rows
        looked_at += tables._even_columns(text, ",") is not None
    assert looked_at > 100


@pytest.mark.parametrize("text", ['a,b\n1,2\n3,"x\n', 'a,b\n1,"x\n3,4\n', 'a,b\n1,2\n3,"x'])
def test_an_open_quote_is_refused_in_the_last_line_too(text, tmp_path):
    for part in (parse_cells, parse_columns):
        with pytest.raises(InputFileError, match="A double quote of line . of"):
            part(text, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_of_a_long_file_the_first_lines_are_read_alone(encoding, tmp_path, monkeypatch):
    lines = [f"{number},é{'x' * (number % 7)}\n" for number in range(400)]
    path = tmp_path / "a.csv"
    path.write_bytes("".join(["a,b\n", *lines]).encode(encoding))
    sizes = []
    decoded = tables._decoded

    def noted(raw, *rest, **more):
        sizes.append(len(raw))
        return decoded(raw, *rest, **more)

    monkeypatch.setattr(tables, "_decoded", noted)
    for first in (7, 8, 64, 2**18):  # a letter of several bytes may be cut
        monkeypatch.setattr(tables, "FIRST_BYTES", first)
        with warnings.catch_warnings():
            warnings.simplefilter("error" if encoding != "cp1252" else "ignore")
            assert read_text(path, 6) == "".join(["a,b\n", *lines[:5]])
            assert read_text(path, 1000) == "".join(["a,b\n", *lines])
            assert read_table(path, n_lines=6)["a"].tolist() == [0, 1, 2, 3, 4]
    monkeypatch.setattr(tables, "FIRST_BYTES", 64)
    sizes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_text(path, 3)
    assert max(sizes) <= 256 < path.stat().st_size
