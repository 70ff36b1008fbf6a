"""Code that messages propose: taken out of the message, run as it stands, and then the call goes through."""

from __future__ import annotations

import re
import warnings

import numpy
import numpy as np
import pandas as pd
import pytest
import spatialdata
from spatialdata.models import Image2DModel
from spatialdata.transformations import Affine, Scale, set_transformation

import spatialfm as sfm
from spatialfm._errors import (
    CoordinateError,
    ElementError,
    PixelSizeError,
    SpatialfmError,
    SpatialfmWarning,
    TableError,
)

CHANNELS = ["DAPI", "CD3", "CD8"]


@pytest.fixture
def sdata(make_sdata, blobs):
    return make_sdata({"a": blobs(0), "b": blobs(1)}, CHANNELS)


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(SpatialfmError) as refused:
        call(*args, **kwargs)
    return str(refused.value)


def run(message: str, pattern: str, **names) -> None:
    """Run the part of a message that matches."""
    (code,) = re.findall(pattern, message)
    exec(code, {"sfm": sfm, "spatialdata": spatialdata, "numpy": numpy, **names})


def test_a_table_that_exists_is_kept_by_the_call_that_is_proposed_first(sdata):
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["phenotype"] = "by hand"
    message = refusal(sfm.pp.cell_table, sdata)
    assert message.index("sfm.pp.cell_table(") < message.index("overwrite=True")
    assert "loses what is in it" in message
    run(message, r"sfm\.pp\.cell_table\([^)]*\)", sdata=sdata)
    assert set(sdata["table"].obs["phenotype"]) == {"by hand"}
    assert sdata["table_2"].n_obs == sdata["table"].n_obs


def test_rows_and_labels_that_do_not_match_are_not_dropped_by_the_first_advice(sdata):
    sfm.pp.cell_table(sdata)
    sdata["table"] = sdata["table"][3:].copy()
    n = sdata["table"].n_obs
    message = refusal(sfm.tl.embed_cells, sdata, "mean-intensity")
    assert "3 labels without row" in message
    assert message.index("sfm.pp.cell_table(") < message.index("on_missing='drop'")
    run(message, r"sfm\.pp\.cell_table\([^)]*\)", sdata=sdata)
    sfm.tl.embed_cells(sdata, "mean-intensity", table_name="table_2")
    assert (sdata["table"].n_obs, sdata["table_2"].n_obs) == (n, n + 3)


@pytest.mark.parametrize("table", [False, True])
def test_pieces_become_cells_beside_a_table_that_exists(make_sdata, table):
    labels = np.kron(np.eye(6, dtype=int), np.pad(np.full((8, 8), 255), 2))
    image = np.ones((3, *labels.shape), np.float32) * np.arange(labels.shape[0], dtype=np.float32)
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    if table:
        sfm.pp.cell_table(sdata, on_pieces="keep")
        del sdata["table"].uns["spatialfm"]["table"]  # as of a table that was made elsewhere
    message = refusal(sfm.tl.embed_cells if table else sfm.pp.cell_table, sdata)
    run(message, r"sfm\.pp\.cell_table\([^)]*\)", sdata=sdata)
    assert sdata["table_2" if table else "table"].n_obs == 6
    if table:
        assert sdata["table"].n_obs == 1


@pytest.mark.parametrize("levels", [None, [2]])
def test_pixels_that_are_nan_are_replaced_under_the_same_name(make_sdata, blobs, levels):
    image, labels = blobs(0, n_channels=3)
    image = image.astype(np.float32)
    image[1][labels > 0] = np.nan
    sdata = make_sdata({"a": (np.zeros_like(image), labels)}, CHANNELS)
    element = Image2DModel.parse(
        image,
        dims=("c", "y", "x"),
        c_coords=CHANNELS,
        scale_factors=levels,
        transformations={"a": Scale([0.5, 0.5], axes=("x", "y"))},
    )
    sdata.images["image_a"] = element
    message = refusal(sfm.pp.cell_table, sdata)
    run(message, r"such as 0: (.*)\.$", sdata=sdata)
    sfm.pp.cell_table(sdata)
    assert (sdata["table"].to_df()["CD3"] == 0).all()
    assert sdata["table"].uns["spatialfm"]["table"]["samples"]
    np.testing.assert_allclose(
        sdata["table"].to_df()["DAPI"], [image[0][labels == n].mean() for n in sdata["table"].obs["cell_id"]], rtol=1e-5
    )


def test_a_pixel_size_is_set_by_the_code_that_is_proposed(make_sdata, blobs):
    sdata = make_sdata({"a": blobs(0)}, CHANNELS)
    for name in ("image_a", "cells_a"):
        set_transformation(sdata[name], spatialdata.transformations.Identity(), "a")
    with pytest.warns(SpatialfmWarning, match="No pixel size is known for 1 image ") as told:
        pixels = sfm.pp.cell_table(sdata, copy=True)
    (message,) = [str(one.message) for one in told if "pixel size" in str(one.message)]
    run(message, r"own mpp: (.*)\.$", sdata=sdata, mpp=0.25)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "No pixel size")
        µm = sfm.pp.cell_table(sdata, copy=True)
    np.testing.assert_allclose(µm.obs["area"], pixels.obs["area"] * 0.25**2)


def test_one_sample_without_a_size_beside_one_with_it(sdata):
    for name in ("image_a", "cells_a"):
        set_transformation(sdata[name], spatialdata.transformations.Identity(), "a")
    with pytest.raises(PixelSizeError) as refused:
        sfm.pp.cell_table(sdata)
    run(str(refused.value), r"own mpp: (.*)\.$", sdata=sdata, mpp=0.25)
    sfm.pp.cell_table(sdata)


def test_a_rotated_image_is_straightened_under_a_name_of_its_own(sdata):
    turned = Affine([[0.0, -0.5, 80], [0.5, 0, 0], [0, 0, 1]], input_axes=("x", "y"), output_axes=("x", "y"))
    for name in ("image_a", "cells_a"):
        set_transformation(sdata[name], turned, "a")
    for kind in ("image", "cells"):
        elements = {"image": {"a": "image_a_straight"} if kind == "cells" else None}
        with pytest.raises(CoordinateError, match=f"'{kind}_a' is rotated") as refused:
            sfm.pp.cell_table(sdata, samples=["a"], **elements)
        run(str(refused.value), r"sdata\['\w+_straight'\] = .*?\)(?=\.)", sdata=sdata)
    straight = {"image": {"a": "image_a_straight"}, "labels": {"a": "cells_a_straight"}}
    sfm.pp.cell_table(sdata, **straight)
    whole = sfm.pp.cell_table(sdata, samples=["b"], copy=True)
    assert set(sdata["image_a"].coords["c"].values) == set(CHANNELS)
    assert sdata["table"].n_obs > 10
    assert whole.n_obs > 10


def test_rows_of_cells_without_a_sample_are_not_dropped_by_the_first_advice(sdata):
    sfm.pp.cell_table(sdata)
    cells = sdata["table"].obs[["sample", "cell_id"]].assign(kind="x").astype({"sample": object})
    cells.iloc[0, 0] = None
    message = refusal(sfm.pp.cell_table, sdata, cells=cells, copy=True)
    assert "Fill it there" in message
    kept = eval(re.search(r"cells\[cells\[.*?\]\.notna\(\)\]", message)[0], {"cells": cells})
    assert len(kept) == len(cells) - 1
    table = sfm.pp.cell_table(sdata, cells=kept, on_missing="drop", copy=True)
    assert table.n_obs == len(kept)


def test_a_channel_that_is_the_mask_is_left_out_by_the_code_that_is_proposed(make_sdata, blobs):
    image, labels = blobs(0)
    sdata = make_sdata({"a": (np.concatenate([image.astype(np.float32), labels[None]]), labels)}, [*CHANNELS, "mask"])
    with pytest.warns(SpatialfmWarning, match="1 channel is the label image itself") as told:
        sfm.pp.cell_table(sdata, table_name="mine")
    (message,) = [str(one.message) for one in told if "label image itself" in str(one.message)]
    code = re.search(r"sdata\['mine'\]\[.*?\)\]", message)[0]
    assert list(eval(code, {"sdata": sdata}).var_names) == CHANNELS


def test_doubled_channels_are_renamed_by_the_call_that_is_proposed(make_sdata, blobs):
    sdata = make_sdata({"a": blobs(0)}, ["DAPI", "CD3", "CD3"])
    message = refusal(sfm.pp.cell_table, sdata)
    run(message, r"sdata\.set_channel_names\([^)]*\)", sdata=sdata, names=["DAPI", "CD3", "CD3_2"])
    sfm.pp.cell_table(sdata)
    assert list(sdata["table"].var_names) == ["DAPI", "CD3", "CD3_2"]


def test_no_sample_is_said_without_an_argument_that_others_lack(sdata):
    for call in (
        lambda: sfm.pl.cells(sdata, sample="z", channels=["CD3"]),
        lambda: sfm.pp.channel_quality(sdata, samples=["z"]),
        lambda: sfm.tl.embed_tiles(sdata, "mean-intensity", samples=["z"]),
    ):
        with pytest.raises(ElementError, match="No sample 'z' in sdata; found 'a', 'b'"):
            call()


def test_cells_outside_of_images_are_one_warning(make_sdata, blobs):
    sdata = make_sdata({name: blobs(k) for k, name in enumerate("abc")}, CHANNELS)
    for name in "abc":
        set_transformation(
            sdata[f"cells_{name}"],
            spatialdata.transformations.Sequence(
                [Scale([0.5, 0.5], axes=("x", "y")), spatialdata.transformations.Translation([30.0], axes=("y",))]
            ),
            name,
        )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        sfm.pp.cell_table(sdata, on_missing="drop")
    (left_out,) = [str(one.message) for one in told if "left out" in str(one.message)]
    assert all(f"labels 'cells_{name}'" in left_out for name in "abc")


def test_the_demo_replaces_nothing_that_it_did_not_write(tmp_path):
    from spatialfm._demo import check_folder

    (tmp_path / "cohort.zarr").mkdir()
    with pytest.raises(SpatialfmError, match="already holds 'cohort.zarr'.*another --out"):
        check_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cohort.zarr"]
    own = tmp_path / "own"
    check_folder(own)
    (own / "cells.h5ad").touch()
    check_folder(own)  # of an earlier run


def test_p_values_that_do_not_exist_are_not_printed():
    from spatialfm._demo import survival_findings

    class Patients:
        uns = {"logrank": {"n": 9, "events": 0, "p_value": np.nan}}

    row = {"hazard_ratio": 1.0, "ci_low": 0.5, "ci_high": 2.0, "p_value": np.nan, "p_holm": np.nan}
    said = " ".join(survival_findings(Patients(), pd.DataFrame([row], index=["T cell niche"])))
    assert "nan" not in said
    assert "no p" in said


def test_a_table_of_other_labels_is_not_replaced(sdata):
    sfm.pp.cell_table(sdata, samples=["a"])
    with pytest.raises(ElementError, match="not labels 'cells_b' of sample 'b'") as refused:
        sfm.tl.embed_cells(sdata, "mean-intensity")
    run(str(refused.value), r"sfm\.pp\.cell_table\([^)]*\)", sdata=sdata)
    sfm.tl.embed_cells(sdata, "mean-intensity", table_name="table_2")


def test_centers_are_counted_in_words(sdata):
    sfm.pp.cell_table(sdata)
    table = sdata["table"]
    table.obs["x"], table.obs["y"] = table.obsm["spatial"].T
    table.obs.iloc[0, table.obs.columns.get_loc("x")] = np.nan
    with pytest.raises(TableError, match="1 cell has no centre"):
        sfm.tl.embed_cells(sdata, "mean-intensity", recipe={"mode": "crop", "centers": ("x", "y")})


TRAINED = {
    "pretrain": {"model": "virtues", "windows": {"size": 32, "crop": 16, "panel": {"markers": ["CD3", "CD8"]}}},
    "finetune": {"label_key": "kind", "recipe": {"window": 32}, "markers": ["CD3", "CD8"], "validation": ["b"]},
    "distil_encoder": {
        "teacher": "mean-intensity",
        "student": "virtues",
        "recipe": {"window": 32, "on_nan": "zero"},
        "markers": ["CD3", "CD8"],
        "validation": ["b"],
    },
}


@pytest.mark.slow  # three trainings; the words themselves are tested beside `report_odd_pixels` and `TRAIN_FIELDS`
@pytest.mark.parametrize("name", TRAINED)
def test_pixels_that_are_nan_are_taken_as_the_message_of_a_training_says(make_sdata, blobs, tmp_path, name):
    (image, labels), other = blobs(0), blobs(1)
    image = image.astype(np.float32)
    image[2, 5, 5] = np.nan
    sdata = make_sdata({"a": (image, labels), "b": (other[0].astype(np.float32), other[1])}, CHANNELS)
    shape = {"dim": 16, "depth": 2, "heads": 2, "decoder_depth": 1, "hidden": 16}
    asked = TRAINED[name] | {"steps": 1, "batch_size": 4, "out": tmp_path / "run", "shape": shape, "workers": 0}
    if name != "pretrain":
        sfm.pp.cell_table(sdata)
        sdata["table"].obs["patient"] = sdata["table"].obs["sample"]
        sdata["table"].obs["kind"] = np.where(np.arange(sdata["table"].n_obs) % 2, "one", "two")
    if name == "finetune":
        encoder = sfm.models.new_encoder("virtues", **asked.pop("shape"))
        sfm.models.save_trained(encoder, tmp_path / "base", {"license": "CC0-1.0"})
        asked |= {"model": "virtues", "weights": tmp_path / "base"}
    train = getattr(sfm.train, name)
    message = refusal(train, sdata, **asked)
    ((argument, value),) = re.findall(r"pass (\w+)=(\{.*\}) to count", message)
    train(sdata, **asked | {argument: asked.get(argument, {}) | eval(value)})
