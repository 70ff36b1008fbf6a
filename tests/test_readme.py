"""The Python blocks of the README run, one after the other, in a folder with the files that they name."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

ROOT = Path(__file__).resolve().parents[1]


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder_with_files(tmp_path, monkeypatch):
    """``cohort.csv``, and the images and masks that it names."""
    import spatialfm as sfm

    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=2, image_size=64, random_state=0, difficulty="easy")
    samples = sdata["samples"].obs
    rows = []
    for number, sample in enumerate(samples.index, start=1):
        image = sdata.images[f"image_{sample}"]
        metadata = {
            "axes": "CYX",
            "PhysicalSizeX": 0.5,
            "PhysicalSizeY": 0.5,
            "Channel": {"Name": list(image.coords["c"].values)},
        }
        tifffile.imwrite(tmp_path / f"core{number}.ome.tif", np.asarray(image.data), metadata=metadata)
        tifffile.imwrite(tmp_path / f"mask{number}.tif", np.asarray(sdata.labels[f"cells_{sample}"].data, np.uint16))
        rows.append((f"core{number}", "P1", f"core{number}.ome.tif", f"mask{number}.tif", 61))
    columns = ["sample", "patient", "image", "labels", "age"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "cohort.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_python_block_of_the_readme_runs(folder_with_files):
    blocks = python_blocks(ROOT / "README.md")
    assert len(blocks) == 3
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)
    assert (folder_with_files / "survival.png").stat().st_size > 10_000
    assert names["patients"].n_obs == 24
    tumor = names["patients"].to_df()["Tumor"].groupby(names["patients"].obs["risk_group"], observed=True).mean()
    events = names["patients"].uns["kaplan_meier"]["groups"]["events"]
    assert abs(tumor.diff().iloc[-1]) > 0.15  # what was planted is what the groups differ by
    assert (events / names["patients"].obs["risk_group"].value_counts().reindex(events.index)).diff().abs().iloc[
        -1
    ] > 0.2
    assert names["patients"].uns["logrank"]["p_value"] < 0.01
    assert names["cd8"].shape == (names["sdata"]["table"].n_obs, 384)


def test_models_in_the_readme_exist_with_the_licence_that_it_names():
    import spatialfm as sfm

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (.*) \|$", text, re.MULTILINE)
    assert {"classical", "kronos"} <= {name for name, _ in rows}
    for name, terms in rows:
        card = sfm.models.card(name)
        assert re.sub(r"\W", "", card.license) in re.sub(r"\W", "", terms), name
        assert ("no commercial use" in terms) == (not card.commercial)
        assert ("none needed" in terms) == (not card.needs_weights)


def test_the_number_of_markers_in_the_readme_is_that_of_the_table():
    import spatialfm as sfm

    stated = int(re.search(r"a table of (\d+) markers", (ROOT / "README.md").read_text(encoding="utf-8"))[1])
    assert stated == len(sfm.pp.marker_table())
