"""The numbers of the published protocols are the defaults."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import spatialfm as sfm

DEFAULTS = {
    # VirTues, Methods: signatures; 4-fold, 10 repeats alone and 25 together
    "discover_signatures": {"n_folds": 4, "n_repeats": 10, "n_repeats_model": 25},
    "transfer_signatures": {"n_trees": 200, "max_depth": 16, "test_size": 0.2},
    "cell_states": {"n_states": 120},
    "score_signatures": {"cuts": (-1.0, 2.0)},
    # VirTues, Methods: tissue-level classification
    "mil": {
        "n_heads": 8, "learning_rate": 1e-4, "batch_size": 16, "max_epochs": 100, "patience": 10,
        "validation_size": 0.2, "n_seeds": 5, "head": "attention",
    },
    # KRONOS, Tables S19 and S20
    "few_shot_samples": {"n_support": 5, "n_draws": 100, "metric": "euclidean"},
    "classify_samples": {
        "n_components": 64, "n_draws": 100, "test_size": 0.2, "scale_components": False, "class_weight": None,
    },
    "search_samples": {"n_components": None},
    # VirTues, Methods: quantifying treatment responses
    "distribution_shift": {"epsilon": 1e-3},
    # Schürch et al. 2020: ten neighborhoods
    "niches": {"n_niches": 10},
    "build_index": {"metric": "l2", "center": True},
}  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name):
    found = {key: value.default for key, value in inspect.signature(getattr(sfm.tl, name)).parameters.items()}
    assert {key: found[key] for key in DEFAULTS[name]} == DEFAULTS[name]


def test_resolutions_run_from_4_to_5_by_a_twentieth():
    found = inspect.signature(sfm.tl.discover_signatures).parameters["resolutions"].default
    np.testing.assert_allclose(found, [4 + 0.05 * i for i in range(21)], atol=1e-12)


def test_heads_of_attention_are_256_wide_unless_told():
    from spatialfm.learn.bag_network import GatedAttentionMIL
    from spatialfm.tl.samples.mil import HIDDEN

    assert HIDDEN["attention"] == 256
    network = GatedAttentionMIL(5, 2)
    assert network.weight.shape == (8, 256)
    assert network.value.weight.shape == (8 * 256, 5)
