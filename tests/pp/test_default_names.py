"""Images whose channels came without names."""

from __future__ import annotations

import numpy as np
import pytest
from elsewhere import pixels, steinbock_like
from spatialdata.models import Image2DModel, get_channel_names
from spatialdata.transformations import Identity

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.pp.default_names import are_default


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_what_spatialdata_gives_is_known(n):
    for rgb in (None, False):
        image = Image2DModel.parse(pixels(channels=n), dims=("c", "y", "x"), rgb=rgb)
        assert are_default([str(name) for name in get_channel_names(image)])
    assert not are_default([f"CD{number}" for number in range(n)])


def unnamed():
    """As the reader of steinbock in spatialdata-io 0.7.1 reads three channels: r, g, b; the table has the markers."""
    sdata = steinbock_like()
    for seed, sample in enumerate(("Patient1_001", "Patient1_002")):
        sdata.images[f"{sample}_image"] = Image2DModel.parse(
            pixels(seed=seed), dims=("c", "y", "x"), rgb=None, transformations={sample: Identity()}
        )
    table = sdata["table"]
    sdata.tables["table"] = table[:, [0, 1, 1]].copy()
    sdata["table"].var_names = ["DAPI", "CD3", "CD20"]
    return sdata


CALLS = [
    lambda sdata: sfm.tl.embed_cells(sdata, model="classical"),
    lambda sdata: sfm.pp.cell_table(sdata, table_name="measured"),
]


@pytest.mark.parametrize("call", CALLS, ids=["embed_cells", "cell_table"])
def test_names_that_nobody_gave_are_told(call):
    sdata = unnamed()
    with pytest.warns(SpatialfmWarning, match=r"2 images .* are named 'r', 'g', 'b', as SpatialData names") as said:
        call(sdata)
    text = next(str(one.message) for one in said if "came without names" in str(one.message))
    code = text.split("Name them: ")[1].split(", if the columns")[0]
    assert code == "sdata.set_channel_names('Patient1_001_image', ['DAPI', 'CD3', 'CD20'])"
    for image in sdata.images:
        sdata.set_channel_names(image, ["DAPI", "CD3", "CD20"])
    sfm.pp.cell_table(sdata, table_name="named")
    truth = sdata["Patient1_001_image"].values[:, sdata["Patient1_001_deepcell_labels"].values == 1].mean(axis=1)
    np.testing.assert_allclose(sdata["named"].to_df().iloc[0][["DAPI", "CD3", "CD20"]], truth, rtol=1e-5)


def test_names_are_not_spoken_of(recwarn):
    sdata = steinbock_like()
    sfm.pp.cell_table(sdata, table_name="measured")
    assert not [one for one in recwarn if "came without names" in str(one.message)]
