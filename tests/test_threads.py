"""Results do not depend on how many threads linear algebra has, which is how many processors a machine has."""

from __future__ import annotations

import os
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy  # noqa: F401  (loaded here, its graphs are those of graphs.py, which need no compiling)
from threadpoolctl import threadpool_info, threadpool_limits

import spatialfm as sfm
from spatialfm._threads import one_thread


def threads() -> dict[str, int]:
    return {library["filepath"]: library["num_threads"] for library in threadpool_info()}


@pytest.fixture
def cells() -> ad.AnnData:
    """6 types in 30 columns, and 400 of 3,000 cells that are alike, as those without any signal are."""
    rng = np.random.default_rng(0)
    of_type = rng.integers(0, 6, 3000)
    values = rng.normal(size=(6, 30))[of_type] + 1.3 * rng.normal(size=(3000, 30))
    values[:400] = values[0]
    obs = pd.DataFrame({"type": of_type.astype(str), "patient": rng.integers(0, 8, 3000).astype(str)})
    obs["sample"] = obs["patient"]
    obs["known"] = obs["type"].where(rng.random(3000) < 0.1).where(of_type != 5)
    cells = ad.AnnData(values.astype(np.float32), obs=obs.set_axis([f"c{i:04}" for i in range(3000)]))
    cells.obsm["X_model"] = values.astype(np.float32)
    return cells


def test_there_is_one_thread_inside_and_as_many_as_before_afterwards():
    import torch

    with one_thread():  # its first use loads libraries
        pass
    with threadpool_limits(2):
        before = threads()
        with one_thread():
            with one_thread():
                pass
            assert set(threads().values()) == {1}
            assert torch.get_num_threads() == 1
        assert threads() == before


TOOLS = {
    "propose_types": lambda c: sfm.tl.propose_types(c, "known", use_rep="X_model", C=0.1, copy=True),
    "annotate": lambda c: sfm.tl.annotate(c, "known", use_rep="X_model", method="linear", C=1.0, copy=True),
    "annotate, contributions": lambda c: sfm.tl.annotate(c, "known", use_rep="X_model", method="bcos", copy=True),
    "tissue_clusters": lambda c: sfm.tl.tissue_clusters(c, 3, use_rep="X_model", copy=True),
    "niches": lambda c: sfm.tl.niches(c, 7, use_rep="X_model", copy=True),
    "leiden_sweep": lambda c: sfm.tl.leiden_sweep(c, use_rep="X_model", resolutions=[1.0], n_subsamples=1, copy=True),
    "transfer_labels": lambda c: sfm.tl.transfer_labels(c[:900], c[900:].copy(), "type", use_rep="X_model", copy=True),
    "surprise": lambda c: [sfm.tl.surprise(c, n_folds=2), c.obs][1],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tool", list(TOOLS))
def test_more_threads_give_the_same_to_the_last_digit(cells, tool):
    results = []
    for n in (1, 3):
        with threadpool_limits(n):
            results.append(TOOLS[tool](cells.copy()))
    one, three = (result if isinstance(result, tuple | list) else [result] for result in results)
    for a, b in zip(one, three, strict=True):
        assert a.equals(b)


GRAPH = """
import numpy as np
from spatialfm.cohort import sketch
sketch.EXACT_UP_TO = 100
values = np.random.default_rng(0).normal(size=(2500, 20)).astype(np.float32)
found = sketch.Nearest(values[:2000], 15, 0)._query(values[2000:], 15)
from spatialfm.learn.search_index import _PynndescentGraph
print(found.tolist(), _PynndescentGraph(values, 0).neighbor_graph[0].tolist())
"""


@pytest.mark.slow
def test_neighbours_that_are_searched_for_are_those_of_one_thread():
    def found(n: int) -> str:
        run = subprocess.run(
            [sys.executable, "-c", GRAPH],
            env=os.environ | {"NUMBA_NUM_THREADS": str(n)},
            capture_output=True,
            text=True,
        )
        assert not run.returncode, run.stderr
        return run.stdout

    assert found(1) == found(3)
