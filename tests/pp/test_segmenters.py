"""Adapters of libraries, against modules with their calls, and what is scaled before.

The stand-ins have the signatures of instanseg-torch 0.1.2 (``InstanSeg.__init__``, ``eval_small_image``) and cellpose
4.1 (``CellposeModel.__init__``, ``eval``): a call with an argument that these do not have fails.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import xarray as xr

import spatialfm as sfm
from spatialfm._errors import SpatialfmError
from spatialfm.pp.segmenters import Levels, check_request, mean_of, scaled, segmenter

INSTANSEG = """
import torch
from skimage.measure import label

class InstanSeg:
    made = []

    def __init__(self, model_type="brightfield_nuclei", device=None, image_reader="auto", verbosity=1):
        assert isinstance(model_type, torch.nn.Module)  # a name would be downloaded
        self.device, self.calls = device, []
        InstanSeg.made.append(self)

    def eval_small_image(self, image, pixel_size=None, normalise=True, return_image_tensor=True, target="all_outputs",
                         rescale_output=True, **kwargs):
        assert isinstance(image, torch.Tensor) and image.dtype == torch.float32 and image.ndim == 4
        self.calls.append((tuple(image.shape), pixel_size, normalise, target, rescale_output, kwargs))
        found = torch.as_tensor(label(image[0].mean(0).numpy() > 0.5).astype("float32"))[None, None]
        found = found.repeat(1, 2 if target == "all_outputs" else 1, 1, 1)
        return (found, image) if return_image_tensor else found
"""
CELLPOSE = """
import numpy as np
from skimage.measure import label

class CellposeModel:
    made = []

    def __init__(self, gpu=False, pretrained_model="cpsam", model_type=None, diam_mean=None, device=None, nchan=None,
                 use_bfloat16=True):
        self.weights, self.device, self.calls = pretrained_model, device, []
        CellposeModel.made.append(self)

    def eval(self, x, batch_size=8, resample=True, channels=None, channel_axis=None, z_axis=None, normalize=True,
             invert=False, rescale=None, diameter=None, flow_threshold=0.4, cellprob_threshold=0.0, do_3D=False,
             anisotropy=None, flow3D_smooth=0, stitch_threshold=0.0, min_size=15, max_size_fraction=0.4, niter=None,
             augment=False, tile_overlap=0.1, bsize=256, compute_masks=True, progress=None):
        self.calls.append((x.copy(), channel_axis, normalize, diameter, flow_threshold))
        masks = label(x[0] > 0.5).astype(np.uint16)
        return masks, [None], np.zeros(256)
"""


class Network(torch.nn.Module):
    """What is read of a released model: the size of its pixels."""

    def __init__(self, pixel_size: float):
        super().__init__()
        self.pixel_size = pixel_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """Both modules, importable; and files of weights."""
    sfm.settings.cache_dir = tmp_path / "cache"
    sfm.settings.device = "cpu"
    (tmp_path / "lib" / "cellpose").mkdir(parents=True)
    (tmp_path / "lib" / "instanseg.py").write_text(INSTANSEG)
    (tmp_path / "lib" / "cellpose" / "__init__.py").write_text("")
    (tmp_path / "lib" / "cellpose" / "models.py").write_text(CELLPOSE)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    torch.jit.script(Network(0.5)).save(str(tmp_path / "instanseg.pt"))
    (tmp_path / "cpsam").write_bytes(b"weights")
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("instanseg", "cellpose")]:
        del sys.modules[name]
    sfm.settings.reset()


@pytest.fixture
def sdata():
    return sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, random_state=0, difficulty="easy")


def test_instanseg_is_called_as_its_documentation_says(sdata, libraries):
    sfm.pp.segment_cells(
        sdata, "instanseg", membrane="Cytokeratin", weights=libraries, key_added="found", tile_size=80, overlap=20,
        options={"seed_threshold": 0.6},
    )  # fmt: skip
    from instanseg import InstanSeg

    (model,) = InstanSeg.made  # loaded once
    assert model.device == "cpu"
    assert len(model.calls) == 4
    shape, *call = model.calls[0]
    assert shape == (1, 2, 100, 100)  # DAPI and Cytokeratin
    assert [shape[2:] for shape, *_ in model.calls[1:]] == [(100, 80), (80, 100), (80, 80)]  # from 48: a whole step
    assert call == [0.5, False, "cells", True, {"seed_threshold": 0.6}]
    assert sdata["found_P001_1"].values.any()
    record = sdata.attrs["spatialfm"]["segmentation"]["found_P001_1"]
    assert record["weights"] == "instanseg.pt"
    assert len(record["sha256"]) == 64
    with pytest.raises(SpatialfmError, match=r"returned 2 label images where one is needed"):
        sfm.pp.segment_cells(sdata, "instanseg", weights=libraries, key_added="x", options={"target": "all_outputs"})


def test_cellpose_is_called_as_its_documentation_says(sdata, libraries):
    options = {"flow_threshold": 0.8}
    sfm.pp.segment_cells(
        sdata, "cellpose", nuclear="DAPI", membrane=["CD3", "Cytokeratin"], weights=libraries / "cpsam",
        key_added="found", diameter=9, options=options,
    )  # fmt: skip
    from cellpose.models import CellposeModel

    (model,) = CellposeModel.made
    assert model.weights == str(libraries / "cpsam")
    assert model.device == torch.device("cpu")
    ((planes, *call),) = model.calls
    assert call == [0, False, 18.0, 0.8]  # 9 µm are 18 pixels
    image = sdata["image_P001_1"].sel(c=["CD3", "Cytokeratin", "DAPI"]).values.astype(float)
    low, high = np.percentile(image.reshape(3, -1), [1, 99], axis=1)[..., None, None]
    expected = np.clip((image - low) / (high - low), 0, 2)
    assert np.allclose(planes[0], expected[:2].mean(axis=0), atol=1e-5)
    assert np.allclose(planes[1], expected[2], atol=1e-5)
    assert not planes[2].any()
    assert sdata["found_P001_1"].values.any()


def test_cellpose_with_nuclei_alone_and_with_membranes_alone(sdata, libraries):
    for arguments in ({"nuclear": "DAPI"}, {"nuclear": [], "membrane": "CD3"}):
        sfm.pp.segment_cells(sdata, "cellpose", weights=libraries / "cpsam", key_added="x", overwrite=True, **arguments)
    from cellpose.models import CellposeModel

    nuclei, membranes = (model.calls[0][0] for model in CellposeModel.made)
    for planes in (nuclei, membranes):
        assert planes.shape == (3, 128, 128)
        assert planes[0].any()
        assert not planes[1:].any()


def test_other_weights_are_another_run(libraries):
    one = check_request("cellpose", 8, 2, libraries / "cpsam", None).identity()
    (libraries / "cpsam").write_bytes(b"other weights")
    two = check_request("cellpose", 8, 2, libraries / "cpsam", None).identity()
    assert one != two
    assert one | {"weights": ""} == two | {"weights": ""}
    assert check_request(lambda tile, mpp: tile, 8, 2, None, None).identity() is None


def test_a_library_that_is_not_there_is_named_with_its_extra(sdata, monkeypatch):
    for module, extra in (("instanseg", "instanseg"), ("cellpose", "cellpose")):
        monkeypatch.setattr("spatialfm._optional.find_spec", lambda name: None)
        with pytest.raises(SpatialfmError, match=rf"needs the package .*pip install 'spatialfm\[{extra}\]'"):
            sfm.pp.segment_cells(sdata, module)


def test_levels_become_0_and_1_and_a_flat_channel_stays_finite():
    tile = xr.DataArray(
        np.array([[[10, 20, 30]], [[5, 5, 5]]], np.uint16), dims=("c", "y", "x"), coords={"c": ["a", "b"]}
    )
    pixels = scaled(tile, Levels(np.array([10.0, 5]), np.array([20.0, 5])))
    assert pixels.tolist() == [[[0, 1, 2]], [[0, 0, 0]]]
    assert mean_of(tile, pixels, ["b", "a"]).tolist() == [[0, 0.5, 1]]
    assert mean_of(tile, pixels, []) is None


def test_a_function_is_called_with_the_tile_alone_and_its_options():
    seen = []
    request = check_request(lambda *args, **kwargs: seen.append((args, kwargs)), 8, 2, None, {"k": 1})
    segmenter(request).labels("tile", ["n"], ["m"], 0.5, Levels())
    assert seen == [(("tile", 0.5), {"k": 1})]
