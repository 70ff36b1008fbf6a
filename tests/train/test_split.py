from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import ClinicalError
from spatialfm.train.split import check_patients, held_out_patients


def windows(patients):
    rows = {"source": "a", "sample": [f"s{n}" for n in range(len(patients))], "patient": patients}
    return pd.DataFrame(rows)


def test_a_share_is_of_patients_and_depends_on_the_seed_alone():
    table = windows(["p1"] * 50 + ["p2", "p3", "p4", "p5"])
    chosen = held_out_patients(table, "patient", 0.4, 0)
    assert len(chosen) == 2
    assert held_out_patients(table.iloc[::-1], "patient", 0.4, 0) == chosen
    assert len({frozenset(held_out_patients(table, "patient", 0.4, seed)) for seed in range(30)}) > 5


@pytest.mark.parametrize(("share", "n"), [(0.01, 1), (0.99, 2)])
def test_no_share_takes_none_or_all(share, n):
    assert len(held_out_patients(windows(["p1", "p2", "p3"]), "patient", share, 0)) == n


def test_patients_by_name():
    assert held_out_patients(windows(["p1", "p2", "p3"]), "patient", ["p2"], 0) == {"p2"}


@pytest.mark.parametrize(
    ("patients", "validation", "message"),
    [
        (["p1", "p1"], 0.5, "All windows are of one patient"),
        (["p1", None, None], 0.5, "2 samples without patient in column 'case': 's1' of a, 's2' of a"),
        (["p1", "p2"], ["p3"], "names patient 'p3', of whom there is no window"),
        (["p1", "p2"], ["p1", "p2"], "names all patients"),
        (["p1", "p2"], [], "names no patient"),
        (["p1", "p2"], 1.0, "must be a share between 0 and 1"),
    ],
)
def test_what_cannot_be_split_is_refused(patients, validation, message):
    with pytest.raises(ClinicalError, match=message):
        held_out_patients(windows(patients), "case", validation, 0)


@pytest.mark.parametrize("names", [["P1", " p1", "P2"], ["1", "1.0", "2"], [1.0, "1", "2"], ["nan", "P1"]])
def test_a_patient_in_two_spellings_is_not_on_both_sides(names):
    with pytest.raises(ClinicalError, match=r"obs\['who'\] \(patient_key=\).*table.obs\[\"who\"\]"):
        check_patients(names, "who", "table.obs")


def test_patients_that_are_spelled_once_may_be_missing_and_numbers():
    check_patients([1, 2, 11, None, np.nan], "who", "table.obs")
    check_patients(["P1", "P2"], "who", "table.obs")
