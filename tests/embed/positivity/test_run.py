"""The run: resumed where it stopped, and known by all that decides its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nimbus_stand_in import stand_in
from spatialdata.transformations import Identity, set_transformation

import spatialfm as sfm
from spatialfm._errors import ModelError, PanelError, PixelSizeError, SpatialfmWarning
from spatialfm.embed.call import Run
from spatialfm.embed.positivity.job import ProbabilityJob
from spatialfm.embed.positivity.run import check_markers, plan_probabilities, run_probabilities
from spatialfm.models.nimbus import Nimbus
from spatialfm.pp.elements import match_elements

CPU = [torch.device("cpu")]


@pytest.fixture(scope="module")
def network():
    network = Nimbus(2)
    network.load_state_dict(stand_in(2))
    return network.eval()


@pytest.fixture
def sdata(make_sdata, blobs):
    samples = {name: blobs(seed, n_channels=2, side=80, n_cells=9) for seed, name in enumerate("ab")}
    return make_sdata(samples, {"a": ["CD3", "CD8"], "b": ["CD8", "CD20"]})


def planned(sdata, network, markers=("CD3", "CD8"), **options):
    asked = {"augmentation": "released", "magnification": None, "mpp": None, "normalizers": {}} | options
    return plan_probabilities(sdata, match_elements(sdata), list(markers), network, **asked)


def test_each_image_gives_the_markers_that_it_has(sdata, network):
    plan = planned(sdata, network)
    assert plan.places == [(0, 0), (0, 1), (1, 1)]
    assert [reader.channel_names for reader in plan.job.readers] == [("CD3",), ("CD8",), ("CD8",)]
    assert plan.job.shapes == ((40, 40),) * 3  # 80 pixels of 0.5 µm
    assert planned(sdata, network, magnification=10).job.shapes == ((80, 80),) * 3
    with pytest.warns(SpatialfmWarning, match="contradicts the transformation"):
        assert planned(sdata, network, mpp=1.05).job.shapes == ((80, 80),) * 3  # within 10 % of what it has seen


def test_a_stopped_run_goes_on_and_ends_with_the_same_numbers(sdata, network, monkeypatch):
    whole, _ = run_probabilities(planned(sdata, network), Run(), CPU)
    made, encode = [], ProbabilityJob.encode_block

    def stopped(self, block, *args):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(block)
        return encode(self, block, *args)

    monkeypatch.setattr(ProbabilityJob, "encode_block", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_probabilities(planned(sdata, network), Run(), CPU)
    made.clear()
    again, _ = run_probabilities(planned(sdata, network), Run(), CPU)
    assert len(made) == 1  # of three
    for one, other in zip(whole, again, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert not list((sfm.settings.cache_dir / "runs").glob("*/block_*"))


def test_two_devices_give_what_one_gives(sdata, network):
    one, _ = run_probabilities(planned(sdata, network), Run(), CPU)
    two, _ = run_probabilities(planned(sdata, network), Run(), CPU * 2)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first["mean"], second["mean"])


def test_all_that_decides_the_numbers_decides_the_identity(sdata, network, make_sdata, blobs):
    other = Nimbus(2)
    other.load_state_dict(stand_in(2, seed=1))
    brighter = {name: blobs(seed, n_channels=2, side=80, n_cells=9) for seed, name in enumerate("ab")}
    brighter["b"][1][0, 0] = 99
    changed = make_sdata(brighter, {"a": ["CD3", "CD8"], "b": ["CD8", "CD20"]})
    plans = [
        planned(sdata, network),
        planned(sdata, network, augmentation="corrected"),
        planned(sdata, network, magnification=10),
        planned(sdata, network, normalizers={"CD3": 5.0}),
        planned(sdata, network, markers=["CD8"]),
        planned(sdata, other.eval()),
        planned(changed, network),
    ]
    assert len({plan.identity for plan in plans}) == len(plans)
    assert planned(sdata, network).identity == plans[0].identity


def test_refusals(sdata, network, make_sdata, blobs):
    pairs = match_elements(sdata)
    with pytest.raises(PanelError, match="Marker 'CD4' is a channel of no image; there are 'CD20', 'CD3'"):
        check_markers(sdata, pairs, ["CD3", "CD4"], {})
    with pytest.raises(PanelError, match="normalizers= has 'CD20', which is not among"):
        check_markers(sdata, pairs, ["CD3"], {"CD20": 3})
    with pytest.raises(PanelError, match="normalizers= divides 'CD3' by 0"):
        check_markers(sdata, pairs, ["CD3"], {"CD3": 0})
    with pytest.raises(ModelError, match="computes in float32"):
        run_probabilities(planned(sdata, network), Run(precision="bfloat16"), CPU)
    unknown = make_sdata({"a": blobs(0, n_channels=1)}, ["CD3"])
    for name in ("image_a", "cells_a"):
        set_transformation(unknown[name], Identity(), "a")
    with pytest.raises(PixelSizeError, match="pixel size of image 'image_a' is unknown"):
        planned(unknown, network, markers=["CD3"])
