"""A small simulated cohort, shared by the tests of this room (never changed by them)."""

from __future__ import annotations

import pytest

import spatialfm as sfm


@pytest.fixture(scope="session")
def cohort():
    """Three patients, two samples each, 64 µm wide, 12 markers."""
    sfm.settings.progress = False
    return sfm.datasets.simulate_cohort(3, n_samples=2, image_size=128, random_state=1)


@pytest.fixture(scope="session")
def clean():
    """One large sample: no spill-over, no blur, no batch effect, no noise but photons, perfect segmentation."""
    sfm.settings.progress = False
    return sfm.datasets.simulate_cohort(1, n_samples=1, n_markers=40, random_state=3, **CLEAN)


CLEAN = {
    "spillover": 0.0,
    "psf": 0.0,
    "batch_effect": 0.0,
    "read_noise": 0.0,
    "merge_rate": 0.0,
    "split_rate": 0.0,
    "miss_rate": 0.0,
    "dilation": 0,
}
