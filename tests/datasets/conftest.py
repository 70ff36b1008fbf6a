"""A small simulated cohort, shared by the tests of this room (never changed by them)."""

from __future__ import annotations

import functools

import pytest

import spatialfm as sfm


@pytest.fixture(autouse=True)
def _anew(monkeypatch):
    """Here cells are simulated whenever they are asked for, and no copies are given."""
    monkeypatch.setattr(sfm.datasets, "simulate_cells", sfm.datasets.simulate_cells.anew)


@pytest.fixture(scope="session")
def cohort():
    """Three patients, two samples each, 64 µm wide, 12 markers."""
    sfm.settings.progress = False
    return sfm.datasets.simulate_cohort(3, n_samples=2, image_size=128, random_state=1, difficulty="easy")


@pytest.fixture(scope="session")
def one():
    """Function that simulates one large sample: no errors, blur, spill-over, batch effect or noise but photons."""
    perfect = dict.fromkeys(
        ["spillover", "psf", "batch_effect", "read_noise", "merge_rate", "split_rate", "miss_rate", "dilation"], 0
    )

    @functools.cache
    def simulate(**changes):
        sfm.settings.progress = False
        return sfm.datasets.simulate_cohort(1, n_samples=1, random_state=3, **perfect | changes, difficulty="easy")

    return simulate


@pytest.fixture(scope="session")
def clean(one):
    """That sample with all markers."""
    return one(n_markers=40)
