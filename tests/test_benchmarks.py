"""What the benchmarks count by hand, and how their tables come into the docs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import spatialfm as sfm

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def embed(monkeypatch):
    """The module ``benchmarks/embed.py``."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("benchmark_embed", FOLDER / "embed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("_generated", "_harness"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("options", [{}, {"token_overlap": True}])
def test_operations_are_those_that_torch_counts(embed, options):
    """Torch's counter does not see inside fused attention on a CPU; with the plain products it sees all."""
    encoder = sfm.models.load("kronos", weights="random", **options)
    pixels, markers = torch.zeros(1, 3, 64, 64), torch.arange(3)
    with (
        FlopCounterMode(display=False) as counter,
        torch.inference_mode(),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        encoder(pixels, markers, outputs=("marker",))
    assert embed.forward_flops(encoder, 3, 64) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_generated_store_is_lazy_and_holds_the_cells_it_says(embed, tmp_path):
    sdata = embed.generated_store(tmp_path / "a.zarr", 56, 2, chunk=32)
    assert sdata["table"].n_obs == 16
    assert sdata["image_a"].shape == (2, 56, 56)
    assert sdata["image_a"].data.chunksize == (1, 32, 32)
    assert sdata["table"].obs["cell_id"].tolist() == list(range(1, 17))


@pytest.fixture
def annotation(monkeypatch):
    """The module ``benchmarks/annotation.py``."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("benchmark_annotation", FOLDER / "annotation.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("_labelled", "_harness"):
        sys.modules.pop(name, None)


def test_the_calibration_error_of_chance_is_the_mean_deviation_of_a_share(annotation):
    alike = np.tile([0.1, 0.7, 0.2], (400, 1))  # one bin
    expected = np.sqrt(2 * 0.7 * 0.3 / (np.pi * 400))
    assert annotation.error_of_right_ones(alike, 0, n_draws=2000) == pytest.approx(expected, rel=0.05)
    assert annotation.error_of_right_ones(np.eye(3)[[0, 2, 1]], 0) == 0


def test_types_that_no_held_out_cell_has_do_not_count(annotation):
    """B is right once of twice (F1 2/3), T always (1); that one cell is called NK costs B, and is no third type."""
    assert annotation.macro_f1(np.array(["B", "B", "T"]), np.array(["B", "NK", "T"])) == pytest.approx(5 / 6)


# ---------------------------------------------------------------------------------------------------------- the docs

PAGES = [
    FOLDER.parent / "docs" / name
    for name in (
        "benchmarks.md",
        "annotation_scores.md",
        "context.md",
        "imputation.md",
        "performance.md",
        "positivity.md",
        "scores.md",
        "simulation.md",
        "training.md",
    )
]
BY_HAND = {"cohort | published | here | do they agree"}  # a judgement in words, of no script


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import _harness

    _harness._PRINTED.clear()
    _harness.part("")
    yield _harness
    sys.modules.pop("_harness", None)


PAGE = """Text.

<!-- table: a.py -->
| n | time |
| --- | --- |
| 1 | 2.0 |

<!-- table: a.py late -->
| n | time |
|---|---|
| 1 | 3.0 |

| n | time |
| --- | --- |
| 9 | 9.0 |

<!-- table: b.py -->
| n | time |
| --- | --- |
| 5 | 5.0 |
"""


def test_tables_are_put_behind_their_markers_and_nowhere_else(harness, capsys):
    harness.head("n", "time")
    harness.row(10, "20.0")
    harness.row(11, "21.0")
    harness.head("other", "header")  # which the page does not hold
    page = harness.written(PAGE, "a.py", harness._PRINTED)
    assert page == PAGE.replace("| 1 | 2.0 |", "| 10 | 20.0 |\n| 11 | 21.0 |")
    harness.part("late")
    harness.table([{"n": 7, "time": "8.0"}])
    page = harness.written(page, "a.py", harness._PRINTED)
    assert page == PAGE.replace("| 1 | 2.0 |", "| 10 | 20.0 |\n| 11 | 21.0 |").replace(
        "|---|---|", "| --- | --- |"
    ).replace("| 1 | 3.0 |", "| 7 | 8.0 |")
    assert capsys.readouterr().out.splitlines()[1:5] == [
        "| n | time |", "| --- | --- |", "| 10 | 20.0 |", "| 11 | 21.0 |",
    ]  # fmt: skip


def test_a_page_may_leave_out_columns(harness):
    harness.head("n", "processor", "time")
    harness.row(10, "5.0", "20.0")
    harness.head("n", "time")
    harness.row(11, "21.0")
    harness.part("late")
    harness.head("time", "processor", "n")
    harness.row("30.0", "6.0", 12)
    page = harness.written(PAGE, "a.py", harness._PRINTED)
    assert page == PAGE.replace("| 1 | 2.0 |", "| 11 | 21.0 |").replace("|---|---|", "| --- | --- |").replace(
        "| 1 | 3.0 |", "| 12 | 30.0 |"
    )


def test_a_table_that_was_not_printed_is_refused(harness):
    harness.head("n", "seconds")
    with pytest.raises(ValueError, match=r"a.py printed no .*header \| n \| time \|"):
        harness.written(PAGE, "a.py", harness._PRINTED)
    with pytest.raises(ValueError, match=r"no table of c.py: none behind a line <!-- table: c.py -->"):
        harness.written(PAGE, "c.py", harness._PRINTED)


def test_the_script_writes_the_page_that_it_is_told(harness, monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["benchmarks/b.py", "--write", str(page)])
    args = harness.parser("b").parse_args()
    harness.head("n", "time")
    harness.row(6, "6.5")
    harness.finish(args)
    assert page.read_text(encoding="utf-8") == PAGE.replace("| 5 | 5.0 |", "| 6 | 6.5 |")


def test_a_difference_is_read_whichever_way_it_is_held(harness):
    rows = [("f1", "a", "b", 0.25, 0.125, 0.5, 0.0625), ("recall", "b", "a", 9.0, 9.0, 9.0, 9.0)]
    table = pd.DataFrame(rows, columns=["score", "first", "second", "difference", "low", "high", "p_value"])
    assert harness.less(table, "a", "b") == {"difference": 0.25, "low": 0.125, "high": 0.5, "p_value": 0.0625}
    assert harness.less(table, "b", "a") == {"difference": -0.25, "low": -0.5, "high": -0.125, "p_value": 0.0625}
    assert harness.less(table, "a", "c") is None


def test_a_process_of_its_own_says_what_it_found_last(harness, tmp_path):
    script = tmp_path / "one.py"
    script.write_text("import json, os, sys\nprint('begun')\nprint(json.dumps([sys.argv[1], os.environ['WORD']]))\n")
    assert harness.printed_last(str(script), "a", env={"WORD": "b"}) == ["a", "b"]


def test_every_table_of_the_benchmarks_has_its_script(harness):
    lines = PAGES[0].read_text(encoding="utf-8").splitlines()
    firsts = [i for i, line in enumerate(lines) if line.startswith("|") and not lines[i - 1].startswith("|")]
    assert len(firsts) > 20
    for i in firsts:
        bare = harness.line(harness.cells_of(lines[i])).strip("| ") in BY_HAND
        assert bare or lines[i - 1].startswith("<!-- table: "), lines[i]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_marked_table_is_printed_by_its_script(harness, page):
    found = list(harness.MARKER.finditer(page.read_text(encoding="utf-8")))
    assert found
    for one in found:
        script = FOLDER / one["script"]
        source = script.read_text(encoding="utf-8")
        parts = sorted(FOLDER.glob(f"_{script.stem}*.py"))
        source += "".join(part.read_text(encoding="utf-8") for part in parts)
        assert "_harness.finish(" in source
        first = harness.cells_of(one["table"].splitlines()[0])[0]
        assert f'"{first}"' in source, f"{one['script']} prints no table that begins with {first!r}"
        for name in (one["part"] or "").split("-")[:1]:  # "c-search" is of part c
            assert f'"{name}"' in source or f"def part_{name}(" in source


def test_no_benchmark_has_two_subjects():
    for path in FOLDER.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.name


# ------------------------------------------------------------------------------------------- the judging of pretraining


@pytest.fixture
def judge(monkeypatch):
    """The module ``benchmarks/_pretrain_judge.py``."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import _pretrain_judge

    yield _pretrain_judge
    sys.modules.pop("_pretrain_judge", None)


def planted(n_patients: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Types a, b, c of cells, and their patients."""
    rng = np.random.default_rng(seed)
    return rng.choice(["a", "b", "c"], n_patients * each), np.repeat(np.arange(n_patients).astype(str), each), rng


def test_the_macro_f1_of_pooled_cells_is_that_of_their_sum(judge):
    """Closed form: of a, 3 of 4 cells are right and one b is called a: 6 / 8; of b, 2 of 3 right, one a: 4 / 6."""
    names, found = np.array(list("aaaabbb")), np.array(list("aaabbba"))
    counts = judge.confusions(names, found, np.array(list("1122112")))
    assert counts.tolist() == [[[2, 0], [0, 2]], [[1, 1], [1, 0]]]
    assert judge.macro_f1(counts.sum(axis=0)) == pytest.approx((6 / 8 + 4 / 6) / 2)
    # one fold each would give the mean of 1 and 1 / 4
    assert judge.macro_f1(counts).tolist() == [1, 0.25]
    # a type that no cell of a draw has does not count, though a cell is called so
    assert judge.macro_f1(np.array([[3.0, 1.0], [0.0, 0.0]])) == pytest.approx(6 / 7)


def test_each_cell_is_predicted_by_a_probe_that_saw_no_cell_of_its_patient(judge):
    """The columns name the patient and nothing else; types are one for each patient, so that cells would be known."""
    patients = np.repeat(np.arange(12).astype(str), 10)
    names = np.array(["a", "b"])[np.arange(120) // 10 % 2]
    columns = np.eye(12)[np.arange(120) // 10]
    found = judge.predicted(columns, names, patients)
    assert all(one in ("a", "b") for one in found)
    assert np.mean(found == names) < 0.7
    shown = np.array([[0.0], [1.0]])[np.arange(120) // 10 % 2]
    assert (judge.predicted(shown, names, patients) == names).all()


def test_a_perfect_and_a_random_representation_are_told_apart(judge):
    names, patients, rng = planted(12, 30)
    truth = (names[:, None] == np.array(["a", "b", "c"])).astype(float)
    told = judge.Judged({"perfect": truth, "again": 2 * truth, "random": rng.normal(size=(360, 5))}, names, patients)
    assert told.score("perfect") == (1, 1, 1)
    assert told.less("again", "perfect") == (0, 0, 0)
    f1, low, high = told.score("random")
    assert low < 1 / 3 < high
    less, *ends = told.less("perfect", "random")
    assert less == pytest.approx(1 - f1)
    assert ends == pytest.approx([1 - high, 1 - low])


def test_the_mean_of_trainings_is_drawn_with_the_same_patients(judge):
    """Its draws are means of theirs: two alike have the interval of one, and differences add up."""
    names, patients, rng = planted(12, 30)
    truth = (names[:, None] == np.array(["a", "b", "c"])).astype(float)
    told = judge.Judged({key: truth + rng.normal(size=(360, 3)) for key in "xyz"}, names, patients)
    told.add_mean("twice", ["x", "x"])
    told.add_mean("both", ["x", "y"])
    assert told.score("twice") == told.score("x")
    assert told.less("both", "z")[0] == pytest.approx((told.less("x", "z")[0] + told.less("y", "z")[0]) / 2)
    low, high = told.less("both", "x")[1:]  # (y - x) / 2, draw by draw
    assert [low, high] == pytest.approx([end / 2 for end in told.less("y", "x")[1:]])


@pytest.mark.slow
def test_the_time_of_a_run_that_went_on_is_that_of_its_last_steps(monkeypatch, judge, capsys):
    import pretrain

    torch_threads = f"{torch.get_num_threads()} thread(s)"
    assert pretrain.minutes_of(400, 0, 120.0) == f"2.0 minutes of processor time of {torch_threads}"
    assert "for the last 300 of them" in pretrain.minutes_of(400, 100, 120.0)
    assert "minutes" not in pretrain.minutes_of(400, 400, 1.0)
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "kronos", "--reading", "tiles", "--out", "nowhere"])
    with pytest.raises(SystemExit):
        pretrain.main()
    assert "--reading tiles is not a way to read kronos, which has alone" in capsys.readouterr().err


@pytest.mark.slow
def test_intervals_of_a_difference_hold_no_difference_about_as_often_as_they_say(judge, monkeypatch):
    """Two representations with noise alike, whose patients differ: 0 lies inside in 92 % of cohorts."""
    monkeypatch.setattr(judge, "N_DRAWS", 400)
    found = []
    for seed in range(40):
        names, patients, rng = planted(12, 30, seed)
        truth = (names[:, None] == np.array(["a", "b", "c"])).astype(float)
        scale = np.repeat(rng.uniform(0.3, 1.5, 12), 30)[:, None]  # some patients are harder
        noisy = {key: truth + scale * rng.normal(size=(360, 3)) for key in ("first", "second")}
        found.append(judge.Judged(noisy, names, patients).less("first", "second"))
    less, low, high = np.transpose(found)
    assert np.sum((low <= 0) & (high >= 0)) >= 33  # of 40; about 37 expected
    assert np.mean(high - low) == pytest.approx(2 * 1.96 * less.std(ddof=1), rel=0.35)


def test_rare_types_and_cells_without_type_take_no_part(judge):
    names = np.array(["a"] * 30 + ["b"] * 29 + [np.nan] * 40 + ["c"] * 31, dtype=object)
    assert judge.frequent(names).tolist() == [True] * 30 + [False] * 69 + [True] * 31
