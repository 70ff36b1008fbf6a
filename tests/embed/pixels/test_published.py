"""Statistics that come with a run: of a record, of pairs, of tables, of a data set; and what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import PanelError
from spatialfm.embed.pixels.published import GivenStatistics, clip_of, of_markers, read_statistics
from spatialfm.models.recipe import Recipe

RECIPE = Recipe(normalization="marker statistics")
PAIRS = {"CD3": (1.0, 2.0), "CD279": (3, 4)}


def read(source, recipe=RECIPE):
    return read_statistics(source, "virtues", recipe)


def test_pairs_are_taken_by_marker():
    given = read(PAIRS)
    mean, std, names = of_markers(given, ["PD-1", "CD3"], [["PD1", "CD3"]])
    assert (mean.tolist(), std.tolist(), names) == ([3, 1], [4, 2], ["CD279", "CD3"])
    with pytest.raises(PanelError, match=r"statistics\['CD3'\] = 5 is not \(mean, standard deviation\)"):
        read({"CD3": 5})


def test_a_record_is_taken_where_its_pixels_were_on_the_same_scale():
    record = {
        "model": "virtues", "normalization": "marker statistics", "markers": json.dumps(["CD3", "CD20"]),
        "normalization_mean": "[1, 2]", "normalization_std": "[3, 4]", "intensity_max": '{"a": 255}',
    }  # fmt: skip
    given = read(record)
    assert (given.mean, given.std) == ({"CD3": 1, "CD20": 2}, {"CD3": 3, "CD20": 4})
    assert given.intensity_max == {"a": 255}
    with pytest.raises(PanelError, match="normalised by 'percentiles'; virtues takes 'marker statistics'"):
        read(record | {"normalization": "percentiles"})
    with pytest.raises(PanelError, match="prepared by 'log', and here they are prepared by nothing"):
        read(record | {"preparation": "log"})
    with pytest.raises(PanelError, match="without markers, means or standard deviations"):
        read(record | {"normalization_std": "[3]"})


def test_a_table_of_all_samples_is_taken_and_others_are_refused():
    table = pd.DataFrame({"mean": [1.0, 2], "std": [3.0, 4]}, index=["CD3", "CD20"])
    table.attrs["intensity_max"] = {"a": 100.0}
    assert read(table).std == {"CD3": 3, "CD20": 4}
    assert read(table).intensity_max == {"a": 100.0}
    with pytest.raises(PanelError, match="without the column 'std'"):
        read(table[["mean"]])
    with pytest.raises(PanelError, match="several rows for 'CD3'"):
        read(table.rename({"CD20": "CD3"}))
    with pytest.raises(PanelError, match="of each sample separately"):
        read(pd.concat({"a": table, "b": table}))
    with pytest.raises(PanelError, match="not a number"):
        read(table.assign(std=["x", "y"]))


def test_names_that_mean_the_same_are_chosen_by_the_channel_or_refused():
    given = GivenStatistics({"CD279": 1.0, "PD-1": 2.0, "CD3": 0.0}, {"CD279": 1.0, "PD-1": 1.0, "CD3": 1.0}, "given")
    assert of_markers(given, ["PD-1"], [["PDCD1"]])[0].tolist() == [2]  # the marker's own name
    by_channel = GivenStatistics(given.mean, given.std, "given", by_channel=True)
    assert of_markers(by_channel, ["PD-1"], [["CD279"]])[0].tolist() == [1]  # the channel's
    assert of_markers(by_channel, ["PD-1"], [["CD279"], ["PDCD1"]])[0].tolist() == [2]  # samples that differ
    two = GivenStatistics({"CD279": 1.0, "PDCD1": 2.0}, {"CD279": 1.0, "PDCD1": 1.0}, "given")
    with pytest.raises(PanelError, match=r"several statistics for PD-1 \(CD279, PDCD1\)"):
        of_markers(two, ["PD-1"], [["PD1"]])


def test_markers_without_numbers_are_refused():
    given = GivenStatistics({"CD3": 1.0, "CD20": np.nan}, {"CD3": -1.0, "CD20": 1.0}, "given")
    with pytest.raises(PanelError, match="contains no statistics for CD8; it has CD3, CD20"):
        of_markers(given, ["CD8"], [["CD8"]])
    with pytest.raises(PanelError, match="standard deviation -1 for CD3"):
        of_markers(given, ["CD3"], [["CD3"]])
    with pytest.raises(PanelError, match="mean nan and standard deviation 1 for CD20"):
        of_markers(given, ["CD20"], [["CD20"]])


@pytest.fixture
def spora(monkeypatch):
    """A recipe whose preparation has the layout of spora, without a model."""
    from spatialfm.embed.pixels import published

    monkeypatch.setattr(published, "Preparation", SimpleNamespace)
    preparation = SimpleNamespace(layout="quantile_clipping_log1p/uq_0.99_image", name="clip and log", words="log")
    return SimpleNamespace(preparation=preparation, normalization="marker statistics")


def write(folder, **tables):
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
    return folder


MEANS, STDS = pd.DataFrame({"CD3": [1.0], "CD8": [2.0]}), pd.DataFrame({"CD3": [3.0], "CD8": [4.0]})
PLACE = "standardization/quantile_clipping_log1p/uq_0.99_image"


def test_a_data_set_is_found_below_its_folder(spora, tmp_path):
    clip = pd.DataFrame({"CD3": [9.0, 8.0], "CD8": [7.0, np.nan]}, index=["one", "two"])
    write(tmp_path / "imc" / "1_0mpp" / PLACE, global_level_means=MEANS, global_level_stds=STDS,
          image_level_upper_quantiles=clip)  # fmt: skip
    given = read(tmp_path, spora)
    assert given.by_channel
    assert given.mean == {"CD3": 1, "CD8": 2}
    np.testing.assert_array_equal(clip_of(given, ["x", "two"], ["CD8", "CD3", "CD4"]), [np.nan, 8, np.nan])
    assert clip_of(given, ["x"], ["CD8"]) is None
    assert clip_of(None, ["two"], ["CD8"]) is None


def test_data_sets_of_another_kind_are_refused(spora, tmp_path):
    other = write(tmp_path / "1_0mpp/standardization/other/uq_0.5_image", global_level_means=MEANS)
    with pytest.raises(PanelError, match="of the standardization other/uq_0.5_image"):
        read(other, spora)
    fine = write(tmp_path / "a" / "0_5mpp" / PLACE, global_level_means=MEANS, global_level_stds=STDS)
    with pytest.raises(PanelError, match="of images at 0_5mpp"):
        read(fine, spora)
    with pytest.raises(PanelError, match="contains no global_level_means.parquet"):
        read(write(tmp_path / "empty"), spora)
    with pytest.raises(PanelError, match="has no global_level_stds.parquet"):
        read({"means": MEANS}, spora)
    with pytest.raises(PanelError, match="a mean or a standard deviation alone: CD8"):
        read({"means": MEANS, "stds": STDS[["CD3"]]}, spora)
    with pytest.raises(PanelError, match="has 2 rows of means"):
        read({"means": pd.concat([MEANS, MEANS]), "stds": STDS}, spora)
    with pytest.raises(PanelError, match="are of clipped, log-transformed pixels .* takes those of pixels as they are"):
        read({"means": MEANS, "stds": STDS})
