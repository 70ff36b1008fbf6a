"""Fixed labels whose source is replaced: never used without a word, and made again by the call that is proposed."""

from __future__ import annotations

import re

import dask.array as da
import numpy as np
import pytest
import spatialdata as sd
from spatialdata.models import Labels2DModel
from spatialdata.transformations import get_transformation

import spatialfm as sfm
from spatialfm._errors import ElementError
from spatialfm.pp.elements import match_elements
from spatialfm.pp.stand_ins import labels_digest


def squares(n: int, number: int | None = None) -> np.ndarray:
    """`n` squares of 6 pixels in a row, all of one number or 1, 2, ..."""
    numbers = np.arange(1, n + 1) if number is None else np.full(n, number)
    return np.kron(np.r_[numbers, np.zeros(8 - n, int)].reshape(1, -1), np.pad(np.ones((6, 6), int), 1))


def sdata_of(make_sdata, labels):
    image = np.ones((2, *labels.shape), np.float32) * np.arange(labels.shape[1], dtype=np.float32)
    return make_sdata(s=(image, labels))


def replace_labels(sdata, labels, name="cells_s"):
    old = sdata[name]
    sdata[name] = Labels2DModel.parse(labels, dims=("y", "x"), transformations=get_transformation(old, get_all=True))


@pytest.mark.parametrize("stored", [False, True])
def test_replaced_labels_are_refused_until_the_proposed_call_is_made(make_sdata, tmp_path, stored):
    sdata = sdata_of(make_sdata, squares(4, 255))
    sfm.pp.cell_table(sdata, on_pieces="split")
    assert sdata["table"].n_obs == 4
    sfm.tl.embed_cells(sdata, "mean-intensity")
    if stored:
        sdata.write(tmp_path / "s.zarr")
        sdata = sd.read_zarr(tmp_path / "s.zarr")
        sfm.tl.embed_cells(sdata, "mean-intensity")  # nothing was replaced
    replace_labels(sdata, squares(6, 9))
    calls = [
        lambda: sfm.pp.cell_table(sdata, table_name="new"),
        lambda: sfm.tl.embed_cells(sdata, "mean-intensity"),
        lambda: sfm.pp.check_labels(sdata),
        lambda: sfm.pl.cells(sdata, sample="s", color="area"),
    ]
    for call in calls:
        with pytest.raises(ElementError, match="'cells_s' were replaced after .* made 'cells_s_fixed'") as refused:
            call()
    assert list(sdata.tables) == ["table"]
    exec(re.search(r"sfm\.pp\.fix_labels\([^)]*\)", str(refused.value))[0], {"sfm": sfm, "sdata": sdata})
    sfm.pp.cell_table(sdata, table_name="new")
    assert sdata["new"].n_obs == 6
    assert sdata["table"].n_obs == 4


@pytest.mark.parametrize("call", ["none", "again", "another"])
def test_records_that_an_earlier_version_wrote_still_count(make_sdata, call):
    labels = squares(4, 255)
    sdata = make_sdata(s=(np.ones((2, *labels.shape), np.float32), labels), t=(np.ones((2, *labels.shape)), labels))
    sfm.pp.fix_labels(sdata, ["cells_s"], image=["image_s"], split=True, suffix="_mended")
    noted = sdata.attrs["spatialfm"]
    noted["mended_labels"], noted["mended_from"] = noted.pop("fixed_labels"), noted.pop("fixed_from")
    if call == "again":
        sfm.pp.fix_labels(sdata, ["cells_s"], image=["image_s"], split=True, suffix="_mended")
    if call == "another":
        sfm.pp.fix_labels(sdata, ["cells_t"], image=["image_t"], split=True)
    assert match_elements(sdata, samples="s")[0].labels == "cells_s_mended"
    replace_labels(sdata, squares(6, 9))
    with pytest.raises(ElementError, match=r"fix_labels\(sdata, 'cells_s', split=True, suffix='_mended'\)"):
        match_elements(sdata, samples="s")
    replace_labels(sdata, squares(5))
    assert sfm.pp.fix_labels(sdata, ["cells_s"], image=["image_s"], split=True).empty
    assert match_elements(sdata, samples="s")[0].labels == "cells_s"


def test_the_other_way_out_takes_the_new_labels_as_they_are(make_sdata):
    sdata = sdata_of(make_sdata, squares(4, 255))
    sfm.pp.fix_labels(sdata, split=True)
    replace_labels(sdata, squares(5))
    with pytest.raises(ElementError, match="were replaced") as refused:
        sfm.pp.cell_table(sdata)
    labels = eval(re.search(r"labels=(\{.*?\})", str(refused.value))[1])
    sfm.pp.cell_table(sdata, labels=labels)
    assert sdata["table"].n_obs == 5


def test_new_labels_that_need_nothing_count_once_fix_labels_has_seen_them(make_sdata):
    sdata = sdata_of(make_sdata, squares(4, 255))
    sfm.pp.fix_labels(sdata, split=True)
    replace_labels(sdata, squares(5))
    assert sfm.pp.fix_labels(sdata, "cells_s", split=True).empty
    assert match_elements(sdata)[0].labels == "cells_s"
    sfm.pp.cell_table(sdata)
    assert sdata["table"].n_obs == 5


def test_fixing_that_changes_nothing_leaves_what_stands_for_the_same_labels(make_sdata):
    sdata = sdata_of(make_sdata, squares(4, 255))
    sfm.pp.fix_labels(sdata, split=True)
    sfm.pp.fix_labels(sdata, "cells_s")  # pieces are kept: nothing to change
    assert match_elements(sdata)[0].labels == "cells_s_fixed"


def test_the_proposed_call_has_the_options_of_the_first(make_sdata):
    labels = squares(4)
    labels[labels == 0] = 7
    sdata = sdata_of(make_sdata, labels)
    sfm.pp.fix_labels(sdata, background=7, suffix="_2")
    replace_labels(sdata, np.where(squares(3) == 0, 7, squares(3)))
    with pytest.raises(ElementError) as refused:
        match_elements(sdata)
    assert "sfm.pp.fix_labels(sdata, 'cells_s', background=[7], suffix='_2')" in str(refused.value)


def test_labels_that_are_the_only_ones_of_their_image_are_compared_too(make_sdata):
    sdata = sdata_of(make_sdata, squares(4, 255))
    other = sd.SpatialData(images={"slide": sdata["image_s"]}, labels={"masks": sdata["cells_s"]})
    sfm.pp.fix_labels(other, "masks", split=True)
    assert match_elements(other)[0].labels == "masks_fixed"
    replace_labels(other, squares(5), "masks")
    with pytest.raises(ElementError, match="'masks' were replaced"):
        match_elements(other)


def test_stores_of_before_are_read(make_sdata):
    sdata = sdata_of(make_sdata, squares(4, 255))
    sfm.pp.fix_labels(sdata, split=True)
    del sdata.attrs["spatialfm"]["fixed_from"]
    assert match_elements(sdata)[0].labels == "cells_s_fixed"


def test_the_digest_is_of_the_numbers_alone():
    labels = np.random.default_rng(0).integers(0, 200, (50, 70))
    first = labels_digest(labels)
    assert labels_digest(da.from_array(labels.astype(np.uint8), chunks=(7, 11))) == first
    assert labels_digest(labels.T) != first
    assert labels_digest(labels.reshape(70, 50)) != first
    labels[49, 69] += 1
    assert labels_digest(labels) != first
