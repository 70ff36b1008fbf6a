"""Patients of one table in another unit are named before their markers are predicted from others'."""

import warnings

import numpy as np
import pytest
from spatialdata.models import Image2DModel
from spatialdata.transformations import get_transformation

import spatialfm as sfm
from spatialfm._errors import PanelError, SpatialfmWarning
from spatialfm.tl.imputation.one_unit import check_kinds, say_groups_apart

CALLS = {
    "impute_markers": {"markers": ["CD8"], "method": "linear"},
    "evaluate_reconstruction": {"markers": ["CD8"], "n_bootstrap": 0, "methods": ["linear"]},
    "select_panel": {"n_markers": 2, "n_random": 2},
}


def table(factor, patient="P001"):
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=60, random_state=0)
    cells.X = cells.X.astype(np.float64)
    cells.X[(cells.obs["patient"] == patient).to_numpy()] *= factor
    return cells


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("factor", [255, 1 / 255])
def test_a_patient_in_another_unit_is_named(name, factor):
    cells = table(factor)
    if name == "impute_markers":  # it is predicted by coefficients of the others' unit
        cells.X[(cells.obs["patient"] == "P001").to_numpy(), cells.var_names.get_loc("CD8")] = np.nan
    dark = "'P001'" if factor < 1 else "'P002', 'P003', 'P004'"
    with pytest.warns(SpatialfmWarning, match=f"Values of {dark} are some .* times darker than those of"):
        getattr(sfm.tl, name)(cells, **CALLS[name])


def test_nothing_is_said_of_one_unit_or_of_values_around_0():
    cells = table(1)
    cells.X[:60, 2] = np.nan
    rng = np.random.default_rng(0)
    around = rng.normal(size=(200, 6))
    around[:100] /= 1e6  # z-scores of a patient without spread
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        say_groups_apart(cells.X, cells.obs["patient"].astype(str))
        say_groups_apart(around, np.repeat(["a", "b"], 100))
        say_groups_apart(np.vstack([np.ones((5, 3)), np.full((50, 3), 99.0)]), np.repeat(["a", "b"], [5, 50]))
        say_groups_apart(np.zeros((0, 3)), [])


def test_images_of_one_type_in_another_unit_are_named():
    """Regression on pixels carried coefficients of 16 bits over to an image of 8 bits that is stored in 16."""
    sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=64, difficulty="easy")
    for name in ("cells", "true_cells"):
        for one in [label for label in sdata.labels if label.startswith(name)]:
            del sdata.labels[one]
    for place, name in enumerate(list(sdata.images)):
        image = sdata[name]
        if place == 0:
            image = (image // 256).isel(c=slice(0, image.sizes["c"] - 1))
        sdata[name] = Image2DModel.parse(
            image.data, dims=("c", "y", "x"), c_coords=list(image.coords["c"].values),
            transformations=get_transformation(sdata[name], get_all=True),
        )  # fmt: skip
    marker = str(sdata["image_P002_1"].coords["c"].values[-1])
    with pytest.warns(SpatialfmWarning, match="Pixels of 'P001_1' are some .* times darker than those of 'P002_1'"):
        sfm.tl.impute_markers(sdata, markers=[marker], method="linear")


def test_images_of_two_kinds_of_pixels_are_not_mixed():
    bytes_, shorts = np.dtype(np.uint8), np.dtype(np.uint16)
    check_kinds([("a", bytes_), ("b", bytes_)])
    check_kinds([("a", shorts), ("a", np.dtype(">u2"))])  # two cohorts may name their images alike
    with pytest.raises(PanelError, match="Images of different pixel types.*uint8: 'a'; uint16: 'b'"):
        check_kinds([("a", bytes_), ("b", shorts)])
