"""What a type checker is told of calls; read by mypy in lint, never run."""

from __future__ import annotations

from typing import assert_type

from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import spatialfm as sfm
from spatialfm.cohort.records import CoxRecord, LogrankRecord, LogrankTrend


def a_copy_is_returned_and_nothing_otherwise(patients: AnnData) -> None:
    assert_type(sfm.tl.cox(patients, ["age"], copy=True), CoxRecord)
    assert_type(sfm.tl.logrank(patients, "arm", copy=True), LogrankRecord)
    assert_type(sfm.tl.logrank(patients, "arm", copy=True)["p_value"], float)
    record = sfm.tl.logrank(patients, "arm", trend=True, copy=True)
    assert_type(record["trend"], LogrankTrend)


def where_nobody_knows_it_may_be_both(patients: AnnData, copy: bool) -> None:
    assert_type(sfm.tl.cox(patients, ["age"], copy=copy), CoxRecord | None)


def a_figure_is_returned_on_request(patients: AnnData) -> None:
    assert_type(sfm.pl.forest(patients), Axes | None)
    assert_type(sfm.pl.composition(patients, return_fig=True), Figure)


def settings_are_of_their_type() -> None:
    assert_type(sfm.settings.batch_memory, int)
    sfm.settings.batch_memory = "512 MiB"
    sfm.settings.bach_memory = 1  # type: ignore[attr-defined]  # a typo is reported
