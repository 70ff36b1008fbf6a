"""A small cohort with results, shared by the tests of this room (never changed by them)."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.reporting import figures

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module", autouse=True)
def _coarse_figures():
    """Time: pixels of figures that nobody looks at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "DPI", 40)
        yield


@pytest.fixture(scope="session")
def cohort():
    """Six patients with an image each, cells with types, an embedding, niches; ``["patients"]`` with results."""
    sfm.settings.progress = False
    sdata = sfm.datasets.simulate_cohort(6, n_samples=1, image_size=96, random_state=3, difficulty="easy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)
        sfm.pp.cell_table(sdata)
        sfm.tl.embed_cells(sdata, "classical")
        cells = sdata["table"]
        tumor = np.asarray(cells[:, "Cytokeratin"].X).ravel()
        names = np.where(tumor > np.median(tumor), "tumor", EVIL)
        cells.obs["phenotype"] = pd.Categorical(names, ["tumor", EVIL])
        sfm.tl.neighborhood_composition(cells, "phenotype", library_key="sample", n_neighbors=4)
        sfm.tl.niches(cells, 2)
        patients = sfm.tl.composition(cells, "niche", patient_key="patient")
        patients.obs["time"] = [3.0, 5.0, 6.0, 8.0, 9.0, 11.0]
        patients.obs["event"] = [1, 1, 0, 1, 1, 0]
        patients.obs["arm"] = pd.Categorical([EVIL, "b"] * 3, [EVIL, "b"])
        patients.obs["age"] = [61.0, 47.0, 70.0, 52.0, 66.0, 58.0]
        sfm.tl.kaplan_meier(patients, "arm")
        sfm.tl.logrank(patients, "arm", n_permutations=999)
        sfm.tl.cox(patients, "age")
        sfm.tl.stratify(patients, 2, time_key="time", event_key="event")
    sdata["patients"] = patients
    return sdata


@pytest.fixture(scope="session")
def written(cohort, tmp_path_factory):
    """The report of it, as text."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore", SpatialfmWarning)
        patch.setattr(figures, "DPI", 40)
        assert sfm.report(cohort, path, title=f"A & B {EVIL}") == path
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]
    return path
