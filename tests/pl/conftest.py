"""A slide whose every pixel is known."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, Labels2DModel, TableModel
from spatialdata.transformations import Scale, Sequence, Translation


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def check_boxes():
    """Every box is on the paper, and none is on another."""

    def check(figure, boxes):
        for i, box in enumerate(boxes):
            assert min(box.x0, box.y0) >= -1
            assert box.x1 <= figure.bbox.x1 + 1
            assert box.y1 <= figure.bbox.y1 + 1
            assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in boxes[:i])

    return check


@pytest.fixture
def labels() -> np.ndarray:
    """Four cells of 6 x 6 pixels on a background; 1 and 2 touch."""
    labels = np.zeros((24, 32), dtype=np.int32)
    labels[2:8, 2:8], labels[2:8, 8:14], labels[14:20, 2:8], labels[14:20, 20:26] = 1, 2, 3, 4
    return labels


@pytest.fixture
def sdata(labels) -> SpatialData:
    """Image of 24 x 32 pixels of 0.5 µm; labels of 1 µm pixels that start at (10, 20) µm of the slide."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 1000, (4, 100, 120)).astype(np.uint16)
    slide = Scale([0.5, 0.5], axes=("x", "y"))
    shifted = Sequence([Scale([1.0, 1.0], axes=("x", "y")), Translation([10.0, 20.0], axes=("x", "y"))])
    image = Image2DModel.parse(
        pixels, dims=("c", "y", "x"), c_coords=["DAPI", "CD3", "CD8", "PanCK"], chunks=(1, 20, 20),
        transformations={"s1": slide},
    )  # fmt: skip
    cells = Labels2DModel.parse(labels, dims=("y", "x"), transformations={"s1": shifted})
    obs = pd.DataFrame(
        {
            "region": pd.Categorical(["cells_s1"] * 3 + ["cells_s2"]),
            "cell_id": [1, 2, 3, 1],
            "type": pd.Categorical(["T", "B", None, "NK"], categories=["T", "B", "NK"]),
            "score": [0.0, 1.0, 0.5, 7.0],
        },
        index=["s1_1", "s1_2", "s1_3", "s2_1"],
    )
    table = TableModel.parse(
        AnnData(X=np.arange(4, dtype=np.float32)[:, None], obs=obs, var=pd.DataFrame(index=["CD3"])),
        region=["cells_s1", "cells_s2"], region_key="region", instance_key="cell_id",
    )  # fmt: skip
    other = Labels2DModel.parse(labels, dims=("y", "x"), transformations={"s2": slide})
    return SpatialData(
        images={"image_s1": image}, labels={"cells_s1": cells, "cells_s2": other}, tables={"table": table}
    )
