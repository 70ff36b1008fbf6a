"""What the benchmarks count by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import spatialfm as sfm

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def embed(monkeypatch):
    """The module ``benchmarks/embed.py``."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("benchmark_embed", FOLDER / "embed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("_generated", None)


@pytest.mark.parametrize("options", [{}, {"token_overlap": True}])
def test_operations_are_those_that_torch_counts(embed, options):
    """Torch's counter does not see inside fused attention on a CPU; with the plain products it sees all."""
    encoder = sfm.models.load("kronos", weights="random", **options)
    pixels, markers = torch.zeros(1, 3, 64, 64), torch.arange(3)
    with (
        FlopCounterMode(display=False) as counter,
        torch.inference_mode(),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        encoder(pixels, markers, outputs=("marker",))
    assert embed.forward_flops(encoder, 3, 64) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_generated_store_is_lazy_and_holds_the_cells_it_says(embed, tmp_path):
    sdata = embed.generated_store(tmp_path / "a.zarr", 56, 2, chunk=32)
    assert sdata["table"].n_obs == 16
    assert sdata["image_a"].shape == (2, 56, 56)
    assert sdata["image_a"].data.chunksize == (1, 32, 32)
    assert sdata["table"].obs["cell_id"].tolist() == list(range(1, 17))
