"""How far imputed images are off, from scipy and scikit-image on the same pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from scipy import stats
from spatialdata.models import Image2DModel

from spatialfm.learn.imputation_error import IntervalRequest
from spatialfm.tl.imputation.image_error import OF_IMAGES, image_scores, summary_of_images

RNG = np.random.default_rng(0)
MEASURED = RNG.gamma(2, size=(2, 16, 16))
PREDICTED = MEASURED[:1] + RNG.normal(0, 0.3, (1, 16, 16))


@pytest.fixture
def sdata():
    made = sd.SpatialData(
        images={
            "image_s": Image2DModel.parse(MEASURED, c_coords=["CD8", "CD3"]),
            "image_s_i": Image2DModel.parse(PREDICTED, c_coords=["CD8"]),
        }
    )
    made.attrs["spatialfm"] = {
        "imputed": {"image_s_i": {"sample": "s", "of": "image_s", "record": '{"space": "intensity"}'}}
    }
    return made


def test_scores_are_those_of_the_pixels(sdata):
    (row,) = image_scores(sdata, "X_i", ["CD8", "CD4"], {"s": "p"}).to_dict("records")
    one, two = MEASURED[0].ravel(), PREDICTED[0].ravel()
    assert (row["marker"], row["sample"], row["patient"]) == ("CD8", "s", "p")
    assert row["r_pixel"] == pytest.approx(stats.pearsonr(one, two)[0], rel=1e-5)
    assert row["mse_pixel"] == pytest.approx(((one - two) ** 2).mean(), rel=1e-5)
    above, called = one > one.mean(), two > one.mean()
    assert row["f1_pixel"] == pytest.approx(2 * (above & called).sum() / (above.sum() + called.sum()))


def test_tables_other_spaces_and_unknown_patients_have_no_scores(sdata):
    assert image_scores(pd.DataFrame(), "X_i", ["CD8"], {"s": "p"}) is None
    assert image_scores(sdata, "X_i", ["CD8"], {"t": "p"}) is None
    sdata.attrs["spatialfm"]["imputed"]["image_s_i"]["record"] = '{"space": "standardised"}'
    assert image_scores(sdata, "X_i", ["CD8"], {"s": "p"}) is None


def test_samples_of_a_patient_count_as_one():
    images = pd.DataFrame(dict.fromkeys(OF_IMAGES, 0.5), index=range(3))
    images["ssim"], images["marker"], images["patient"] = [0.2, 0.4, 0.9], "CD8", ["p", "p", "q"]
    found = summary_of_images(images, ["CD8"], IntervalRequest(0.9, 1, False, 100, 99, 0))
    assert found.loc["CD8", "ssim"] == pytest.approx((0.3 + 0.9) / 2)
