"""What a difficulty is made of: every number can be set by hand, and what was not set is the difficulty's."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmError
from spatialfm.datasets._simulate_difficulty import (
    DIFFICULTIES,
    EASY,
    REAL,
    Biology,
    biology_of,
    camera_of,
    settings_of,
)
from spatialfm.datasets._simulate_options import ARTIFACTS

BEFORE = [1001.932, 235.908, 205.474, 221.181, 169.908, 250.271]
BEFORE += [257.208, 609.189, 278.318, 212.643, 254.222, 191.669]


def test_easy_images_stay_what_they_were():
    """Means of each channel, written down before there was another difficulty."""
    sdata = sfm.datasets.simulate_cohort(
        1, n_samples=1, image_size=128, random_state=0, mpp=1.0, batch_effect=0, difficulty="easy"
    )
    means = sdata["image_P001_1"].values.mean(axis=(1, 2))
    np.testing.assert_allclose(means, BEFORE, rtol=1e-4)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_what_is_not_given_is_that_of_the_difficulty(difficulty):
    assert settings_of(difficulty, {}) == {
        name: list(value) if isinstance(value, tuple) else value for name, value in DIFFICULTIES[difficulty].items()
    }
    given = {"halo": 0.5, "merge_rate": None, "artifacts": ()}
    expected = settings_of(difficulty, {}) | {"halo": 0.5, "artifacts": []}
    assert settings_of(difficulty, given) == expected


def test_real_tissue_is_harder_in_every_way():
    same = {"detector", "psf", "spillover", "background", "camera_gain", "camera_offset", "read_noise", "dilation"}
    assert {name for name in EASY if EASY[name] == REAL[name]} == same
    lower = {"brightness", "dim_markers", "rare_share", "artifacts", "artifact_rate"}
    for name in EASY.keys() - same - lower:
        assert REAL[name] > EASY[name], name


def test_ions_have_no_camera():
    settings = settings_of("real", {"detector": "ions"})
    assert (settings["camera_gain"], settings["camera_offset"], settings["read_noise"]) == (1.0, 0.0, 0.0)
    assert settings["collagen"] == settings["red_cells"] == settings["stitching"] == 0
    assert settings_of("real", {"detector": "ions", "collagen": 2.0})["collagen"] == 2.0


def test_every_number_is_an_argument():
    arguments = inspect.signature(sfm.datasets.simulate_cohort).parameters
    for name in EASY:
        assert name in arguments
        assert arguments[name].default == ("camera" if name == "detector" else None), name


def test_records_hold_the_settings():
    settings = settings_of("real", {"halo": 0.3, "camera_gain": 2, "continuum": 0.4})
    camera, biology = camera_of(settings), biology_of(settings)
    assert (camera.halo, camera.gain, camera.psf) == (0.3, 2.0, REAL["psf"])
    assert (biology.continuum, biology.rare_share) == (0.4, REAL["rare_share"])
    assert Biology() == biology_of(settings_of("easy", {}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"difficulty": "hard"}, ["difficulty='hard'", "'real'", "'easy'"]),
        ({"detector": "film"}, ["detector='film'", "'camera'", "'subtracted'", "'ions'"]),
        ({"detector": ""}, ["detector=''", "'camera'"]),
        ({"brightness": 5}, ["brightness=5", "2 finite numbers"]),
        ({"brightness": (300, 6)}, ["brightness=(300, 6)", "dimmest"]),
        ({"rare_share": 0.5}, ["rare_share=0.5", "0.2"]),
        ({"cell_size_spread": 0.01}, ["cell_size_spread=0.01", "at least 0.09"]),
        ({"expression_tail": 0.9}, ["expression_tail=0.9", "from 0 to 0.5"]),
        ({"halo": 1}, ["halo=1", "0.9"]),
        ({"nuclear_rate": -1}, ["nuclear_rate=-1", "from 0 to 1"]),
        ({"dilation": 0.5}, ["dilation=0.5"]),
    ],
)
def test_refusals_name_the_argument_and_what_is_valid(arguments, words):
    with pytest.raises(SpatialfmError) as caught:
        sfm.datasets.simulate_cohort(1, n_samples=1, image_size=64, **{"difficulty": "real"} | arguments)
    for word in words:
        assert word in str(caught.value)


def test_the_page_has_the_numbers():
    """Each row of the table of difficulties in the docs; an empty cell of ions: that of ``"real"``."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.*?) ?\|", page, re.MULTILINE)
    stated = {name: cells for name, *cells in rows if name in EASY}
    assert set(stated) == set(EASY) - {"detector", "psf", "dilation"}  # the same for both, and of no platform
    words = {"160 to 800": None, "none": [], "all five": list(ARTIFACTS), "as they fall": None}
    columns = settings_of("easy", {}), settings_of("real", {}), settings_of("real", {"detector": "ions"})
    for name, cells in stated.items():
        for cell, settings in zip(cells, columns, strict=True):
            cell = cell or cells[1]
            low, _, high = cell.partition(" to ")
            expected = words[cell] if cell in words else [float(low), float(high)] if high else float(cell)
            assert settings[name] == expected, (name, cell)
