"""The cohort as a whole: conventions, refusals, the same bytes, a round trip through a store."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from spatialdata import read_zarr
from spatialdata.transformations import get_transformation

import spatialfm as sfm
from spatialfm._errors import SpatialfmError
from spatialfm.datasets._simulate_panel import MARKERS, NICHES, TYPES
from spatialfm.pp import arrays, elements

SAMPLES = ["P001_1", "P001_2", "P002_1", "P002_2", "P003_1", "P003_2"]

# KRONOS, Table S2
TABLE_S2 = """
a-SMA CD27 EGFR LMP1 ACE2 CD271 EOMES LUMICAN ARID1A CD28 EPCAM LYSOZYME ASS1 CD3 ERB LYVE-1 ATP5A CD30 FIBRINOGEN
MCT ATRX CD31 FN1 MMP9 B7H3 CD34 FOXP3 MPO BCL2 CD35 G6PD MUC1 BCL6 CD36 GALECTIN-3 MUC5AC BDCA-2 CD38 GATA3 NAKATP
b2M CD39 GEMININ NOTCH2 b-CATENIN CD4 GITR P53 b-TUBULIN CD40 GLUT1 PAX5 C1Q CD44 GLYCOPHORIN-A PD1 C4A CD45 GZMA
PD-L1 CA9 CD45RA GZMB pHH3 CATHEPSIN-L CD45RO H2AX PODOCIN CCR4 CD49A H3K27AC PODOPLANIN CCR6 CD5 H3K27ME3 PROX1
CCR7 CD54 HEPATOCYTE-AG PTEN CD1A CD56 HER2 RAS CD1B CD57 HEY1 RB CD1C CD61 HISTONE-H3 RELA CD10 CD66B HLA-1 RELB
CD103 CD68 HLA-DR S100 CD106 CD69 HLA-DRA SIGELC-3 CD107A CD7 HLA-DRBPB SIGLEC-7 CD11B CD8 HSP27 SIGLEC-9 CD11C CDT1
IBA1 SPARC CD134 CGAS ICAM1 STING CD138 CLEAVED-CASP3 ICOS TBET CD14 CLEC9A IDH TCF1 CD15 CLUSTERIN IDO1 TCR-b CD16
COLLAGEN IGA1 TCR-gd CD162 CS IGA2 TCR-Va7.2 CD163 CTLA4 IGD TIM3 CD164 CXCL13 IGM TMPRSS2 CD19 CXCR5 IL-1b TOX CD2
CYTOKERATIN INOS TREM2 CD20 DAPI IRF4 UROMODULIN CD206 DC-SIGN KI-67 VDAC1 CD21 DESMIN LAG3 VIMENTIN CD23 E-CADHERIN
LAMINA VISTA CD25 EBNA1 LANGERIN
""".split()


def _digest(sdata) -> str:
    """Hash of every array, table and attribute."""
    h = hashlib.sha256()
    for kind in (sdata.images, sdata.labels):
        for name in sorted(kind):
            h.update(name.encode())
            h.update(np.ascontiguousarray(kind[name].values).tobytes())
    for name in sorted(sdata.tables):
        table = sdata.tables[name]
        h.update(np.ascontiguousarray(table.X).tobytes())
        h.update(table.obs.to_csv(float_format="%.17g").encode())
        for key in sorted(table.obsm):
            h.update(np.ascontiguousarray(table.obsm[key]).tobytes())
    h.update(json.dumps(sdata.attrs, sort_keys=True).encode())
    return h.hexdigest()


_SMALL = {"n_samples": 1, "image_size": 96, "artifacts": ["fold", "blur"], "random_state": 9}


def test_elements_follow_the_conventions(cohort):
    assert sorted(cohort.images) == [f"image_{s}" for s in SAMPLES]
    assert sorted(cohort.labels) == sorted([f"{p}_{s}" for p in ("cells", "true_cells") for s in SAMPLES])
    assert sorted(cohort.tables) == ["samples", "truth"]
    pairs = elements.match_elements(cohort)
    assert [(p.sample, p.image, p.labels, p.coordinate_system) for p in pairs] == [
        (s, f"image_{s}", f"cells_{s}", s) for s in SAMPLES
    ]
    for pair in pairs:
        assert elements.pixel_size(cohort, pair) == 0.5
        assert elements.labels_to_image(cohort, pair).is_identity
        assert arrays.image_array(cohort, pair.image).shape == (12, 128, 128)
    for name in [*cohort.images, *cohort.labels]:
        assert list(get_transformation(cohort[name], get_all=True)) == [name.split("_", name.count("_") - 1)[-1]]
    assert arrays.channel_names(cohort, "image_P001_1") == list(MARKERS)[:12]
    assert cohort.attrs["spatialfm"]["samples"]["P002_1"] == {"mpp": 0.5, "mpp_source": "argument"}


def test_samples_table(cohort):
    obs = cohort.tables["samples"].obs
    assert obs.index.tolist() == SAMPLES
    assert obs["patient"].tolist() == [s[:4] for s in SAMPLES]
    assert set(obs) == {"patient", "slide", "age", "sex", "stage", "treatment", "response", "time", "event"}
    clinical = obs.drop(columns="slide").groupby("patient", observed=True).nunique()
    assert (clinical == 1).all().all()  # patients, not samples, have an outcome
    assert cohort.tables["samples"].shape == (6, 0)
    assert set(obs["event"]) <= {0, 1}
    assert set(obs["response"]) <= {"responder", "non-responder"}


def test_truth_annotates_the_true_labels(cohort):
    truth = cohort.tables["truth"]
    assert truth.uns["spatialdata_attrs"]["instance_key"] == "cell_id"
    for sample, cells in truth.obs.groupby("sample", observed=True):
        labels = cohort.labels[f"true_cells_{sample}"].values
        assert set(cells["region"]) == {f"true_cells_{sample}"}
        assert cells["cell_id"].tolist() == list(range(1, labels.max() + 1))
        assert cells.index.tolist() == [f"{sample}_true_{i}" for i in cells["cell_id"]]
        assert set(cells["patient"]) == {sample[:4]}
        x, y = (truth[cells.index].obsm["spatial"] / 0.5).T
        hit = labels[y.astype(int), x.astype(int)] == cells["cell_id"]
        assert hit.mean() > 0.95  # the centroid of a bent cell may be outside
    assert truth.var_names.tolist() == list(MARKERS)[:12]
    assert list(truth.obs["type"].cat.categories) == list(TYPES)
    assert list(truth.obs["niche"].cat.categories) == list(NICHES)
    assert truth.obs["state"].between(0, 1).all()
    tumor = truth.obs["type"] == "Tumor"
    assert set(truth.obs.loc[tumor, "state_name"]) == {"proliferation"}


def test_truth_stays_out_of_the_users_elements(cohort):
    for column in ("type", "niche", "state", "fraction", "hazard"):
        assert column not in cohort.tables["samples"].obs
    assert "table" not in cohort.tables
    assert any(
        not np.array_equal(cohort.labels[f"cells_{s}"].values, cohort.labels[f"true_cells_{s}"].values) for s in SAMPLES
    )


def test_truth_record(cohort):
    record = cohort.attrs["truth"]
    assert json.loads(json.dumps(record)) == record
    truth = cohort.tables["truth"].obs
    fraction = (truth["niche"] == "tumor nest").groupby(truth["patient"], observed=True).mean()
    z = (fraction - fraction.mean()) / fraction.std(ddof=0)
    patients = pd.DataFrame.from_dict(record["patients"], orient="index")
    np.testing.assert_allclose(patients["fraction"], fraction)
    np.testing.assert_allclose(patients["z"], z)
    clinical = cohort.tables["samples"].obs.groupby("patient", observed=True).first()
    stage = clinical["stage"].map({"I": 0, "II": 1, "III": 2, "IV": 3}).astype(float)
    expected = 0.015 * np.exp(z + 0.25 * stage + 0.02 * (clinical["age"] - 62))
    np.testing.assert_allclose(patients["hazard"], expected)
    assert record["effect"]["effect_of"] == "tumor nest"
    assert record["effect"]["kind"] == "niche"
    assert "exp(effect_size * z" in record["effect"]["formula"]
    assert record["markers"] == {name: MARKERS[name][0] for name in list(MARKERS)[:12]}
    for sample in SAMPLES:
        counts = record["segmentation"][sample]
        assert counts["segmented_cells"] == cohort.labels[f"cells_{sample}"].values.max()
        assert counts["true_cells"] == cohort.labels[f"true_cells_{sample}"].values.max()


def test_markers_are_those_of_table_s2():
    def plain(name):
        return name.upper().replace("-", "").replace(" ", "")

    assert len(TABLE_S2) == 175
    known = {plain(name) for name in TABLE_S2}
    assert len(MARKERS) == 40
    assert [name for name in MARKERS if plain(name) not in known] == []


def test_survives_a_store(cohort, tmp_path):
    cohort.write(tmp_path / "cohort.zarr")
    again = read_zarr(tmp_path / "cohort.zarr")
    assert _digest(again) == _digest(cohort)
    assert again.attrs["truth"]["effect"] == cohort.attrs["truth"]["effect"]
    assert elements.pixel_size(again, elements.match_elements(again)[0]) == 0.5


def test_same_seed_same_bytes():
    one = _digest(sfm.datasets.simulate_cohort(2, **_SMALL, difficulty="easy"))
    assert one == _digest(sfm.datasets.simulate_cohort(2, **_SMALL, difficulty="easy"))
    assert one != _digest(sfm.datasets.simulate_cohort(2, **_SMALL | {"random_state": 10}, difficulty="easy"))


@pytest.fixture(scope="module")
def real():
    sfm.settings.progress = False
    return sfm.datasets.simulate_cohort(2, n_samples=1, image_size=128, random_state=9, difficulty="real")


def test_realistic_tissue_has_the_same_bytes_and_does_not_depend_on_the_others(real):
    again = sfm.datasets.simulate_cohort(2, n_samples=1, image_size=128, random_state=9, difficulty="real")
    assert _digest(real) == _digest(again)
    alone = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=128, random_state=9, difficulty="real")
    for name in ("image_P001_1", "cells_P001_1", "true_cells_P001_1", "artifacts_P001_1"):
        np.testing.assert_array_equal(real[name].values, alone[name].values)


def test_realistic_tissue_is_the_default(real):
    default = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=128, random_state=9)
    assert default.attrs["truth"]["parameters"]["difficulty"] == "real"
    for name in ("image_P001_1", "cells_P001_1", "true_cells_P001_1", "artifacts_P001_1"):
        np.testing.assert_array_equal(default[name].values, real[name].values)


def test_the_truth_of_realistic_tissue_is_whole(real):
    record, truth = real.attrs["truth"], real["truth"]
    assert json.loads(json.dumps(record)) == record
    assert record["parameters"]["difficulty"] == "real"
    assert record["artifact_codes"] == {"fold": 1, "blur": 2, "saturation": 3, "dropout": 4, "seam": 5}
    for sample in real["samples"].obs_names:
        true, cells = (real[f"{kind}_{sample}"].values for kind in ("true_cells", "cells"))
        mine = truth[(truth.obs["sample"] == sample).to_numpy()]
        assert mine.obs["cell_id"].tolist() == list(range(1, true.max() + 1))
        assert (np.bincount(true.ravel())[1:] > 0).all()
        y, x = np.nonzero(true)
        count = np.bincount(true[y, x])[1:]
        centres = [np.bincount(true[y, x], at + 0.5)[1:] / count * 0.5 for at in (x, y)]
        np.testing.assert_allclose(mine.obsm["spatial"], np.column_stack(centres), rtol=1e-6)
        counts = record["segmentation"][sample]
        assert counts["true_cells"] == true.max()
        assert counts["segmented_cells"] == cells.max() == len(np.unique(cells)) - 1
        assert set(np.unique(real[f"artifacts_{sample}"].values)) <= {0, 1, 2, 3, 4, 5}
    fraction = (truth.obs["niche"] == "tumor nest").groupby(truth.obs["patient"], observed=True).mean()
    np.testing.assert_allclose([record["patients"][name]["fraction"] for name in fraction.index], fraction)


def test_both_panels_show_the_same_realistic_tissue():
    small, large = (
        sfm.datasets.simulate_cohort(1, n_samples=1, image_size=96, n_markers=n, difficulty="real") for n in (12, 40)
    )
    np.testing.assert_array_equal(small["cells_P001_1"].values, large["cells_P001_1"].values)
    np.testing.assert_array_equal(small["truth"].X, large["truth"].X[:, :12])


def test_same_bytes_in_another_process(tmp_path):
    script = tmp_path / "other.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import spatialfm as sfm\n"
        "from hashlib import sha256\n"
        "sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=64, difficulty='easy')\n"
        "h = sha256(sdata.images['image_P001_1'].values.tobytes())\n"
        "h.update(sdata.labels['cells_P001_1'].values.tobytes())\n"
        "h.update(sdata.tables['truth'].obs.to_csv(float_format='%.17g').encode())\n"
        "sys.stdout.write(h.hexdigest())\n"
    )
    root = str(next(iter(sfm.__path__)) + "/..")
    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=64, difficulty="easy")
    h = hashlib.sha256(sdata.images["image_P001_1"].values.tobytes())
    h.update(sdata.labels["cells_P001_1"].values.tobytes())
    h.update(sdata.tables["truth"].obs.to_csv(float_format="%.17g").encode())
    found = subprocess.run(
        [sys.executable, str(script), root], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "123"}
    )
    assert found.stdout == h.hexdigest()


def test_samples_do_not_depend_on_the_others():
    few, many = (
        sfm.datasets.simulate_cohort(n, **_SMALL | {"n_samples": k}, difficulty="easy") for n, k in ((1, 2), (3, 1))
    )
    for name in ("image_P001_1", "cells_P001_1", "true_cells_P001_1", "artifacts_P001_1"):
        np.testing.assert_array_equal(few[name].values, many[name].values)
    a, b = (s.tables["truth"][s.tables["truth"].obs["sample"] == "P001_1"] for s in (few, many))
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.obs["type"].astype(str), b.obs["type"].astype(str))


def test_both_panels_show_the_same_tissue(clean):
    small = sfm.datasets.simulate_cohort(1, n_samples=1, n_markers=12, random_state=3, difficulty="easy")
    np.testing.assert_array_equal(small["true_cells_P001_1"].values, clean["true_cells_P001_1"].values)
    np.testing.assert_array_equal(small.tables["truth"].X, clean.tables["truth"].X[:, :12])
    assert clean.images["image_P001_1"].shape == (40, 256, 256)


def test_a_few_hundred_cells_an_image(clean):
    assert 120 < clean.tables["truth"].n_obs < 500


@pytest.mark.parametrize("mpp", [0.25, 1.0])
def test_cells_keep_their_size_at_other_resolutions(mpp):
    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=round(80 / mpp), mpp=mpp, difficulty="easy")
    labels = sdata.labels["true_cells_P001_1"].values
    area = np.median(np.bincount(labels.ravel())[1:]) * mpp**2
    assert 30 < area < 90
    assert sdata.tables["truth"].obsm["spatial"].max() <= 80


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"effect_of": "Tcell"}, ["effect_of='Tcell'", "'lymphoid aggregate'", "'Macrophage'"]),
        ({"n_markers": 20}, ["n_markers=20", "12 or 40"]),
        ({"n_patients": 0}, ["n_patients=0", "at least 1"]),
        ({"n_patients": 2.0}, ["n_patients=2.0", "whole number", "Pass 2."]),
        ({"n_samples": 0}, ["n_samples=0", "at least 1"]),
        ({"image_size": 32}, ["image_size=32", "at least 64"]),
        ({"image_size": 64, "mpp": 0.25}, ["image_size=64", "too small", "image_size=128"]),
        ({"mpp": 5.0}, ["mpp=5.0", "from 0.1 to 1.5"]),
        ({"effect_size": float("nan")}, ["effect_size=nan", "finite"]),
        ({"effect_size": "1"}, ["effect_size='1'", "number"]),
        ({"artifacts": ["scratch"]}, ["'scratch'", "'fold', 'blur', 'saturation', 'dropout', 'seam'"]),
        ({"artifact_rate": 2}, ["artifact_rate=2", "from 0 to 1"]),
        ({"merge_rate": -0.1}, ["merge_rate=-0.1", "from 0 to 1"]),
        ({"dilation": -1}, ["dilation=-1", "at least 0"]),
        ({"spillover": 1.5}, ["spillover=1.5"]),
        ({"psf": -1}, ["psf=-1"]),
        ({"camera_gain": 0}, ["camera_gain=0"]),
        ({"baseline_hazard": 0}, ["baseline_hazard=0"]),
        ({"patients_per_slide": 0}, ["patients_per_slide=0"]),
        ({"batch_effect": -1}, ["batch_effect=-1"]),
        ({"random_state": None}, ["random_state=None", "whole number"]),
    ],
)
def test_refusals_name_the_argument_and_what_is_valid(arguments, words):
    with pytest.raises(SpatialfmError) as caught:
        sfm.datasets.simulate_cohort(
            **{"n_patients": 1, "n_samples": 1, "image_size": 64} | arguments, difficulty="easy"
        )
    for word in words:
        assert word in str(caught.value)


@pytest.mark.slow
def test_speed_of_the_default_cohort():
    import time

    start = time.process_time()
    sfm.datasets.simulate_cohort()
    assert time.process_time() - start < 60
