"""What is refused before the first window is encoded."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError
from spatialfm._identity import fingerprint
from spatialfm.embed import plan as module
from spatialfm.embed.plan import encoder_identity, state_hash


@pytest.fixture(scope="module")
def cohort():
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    return sdata


@pytest.mark.parametrize(
    ("function", "model", "options"),
    [
        ("embed_cells", "classical", {}),
        ("embed_cells", "mean-intensity", {}),
        ("embed_cells", "kronos", {"weights": "random", "outputs": "marker"}),
        ("embed_cells", "kronos", {"weights": "random", "outputs": ["patch", "marker"]}),
        pytest.param(
            *("embed_cells", "virtues", {"weights": "random", "recipe": {"mode": "tile"}}), marks=pytest.mark.slow
        ),
        pytest.param(
            *("embed_cells", "virtues", {"weights": "random", "recipe": {"mode": "tile"}, "outputs": "marker"}),
            marks=pytest.mark.slow,
        ),
        ("embed_tiles", "kronos", {"weights": "random", "size": 32, "min_tissue": 0.0}),
    ],
)
def test_the_width_is_known_before_the_run(cohort, monkeypatch, function, model, options):
    seen = []
    monkeypatch.setattr(module, "check_components", lambda n, shape: seen.append(shape))
    table = getattr(sfm.tl, function)(
        cohort, model, markers=["CD3", "CD8", "CD20"], reduce={"n_components": 2}, copy=True, **options
    )
    keys = [key for key in table.obsm if key.startswith("X_")]
    assert sorted(seen) == sorted((table.n_obs, sfm.get.record(table, key)["n_columns"]) for key in keys)


def test_components_and_bases_that_do_not_fit_are_refused_before_anything_is_encoded(cohort, monkeypatch):
    table = sfm.tl.embed_cells(cohort, "mean-intensity", reduce={"n_components": 2}, copy=True)
    basis = sfm.get.basis(table, "X_mean_intensity")

    def no(*args, **kwargs):
        raise AssertionError("windows were encoded")

    monkeypatch.setattr("spatialfm.embed.run.engine.run", no)
    with pytest.raises(ModelError, match=r"reduce=.*basis.* was made for 12 columns, and this embedding has 2"):
        sfm.tl.embed_cells(cohort, "mean-intensity", markers=["CD3", "CD8"], reduce={"basis": basis})
    with pytest.raises(
        ModelError, match=r"reduce=..n_components.: 13. of an embedding of [\d,]+ rows x 12 columns.*from 1 to 12"
    ):
        sfm.tl.embed_cells(cohort, "mean-intensity", reduce={"n_components": 13})
    other = {"components": np.ones((1, 3)), "mean": np.zeros(3)}
    with pytest.raises(ModelError, match="3 columns"):
        sfm.tl.embed_tiles(cohort, "mean-intensity", size=32, reduce={"basis": other}, min_tissue=0.0)


@pytest.mark.parametrize("argument", ["size", "stride"])
def test_sides_of_tiles_are_named_as_the_function_calls_them(cohort, argument):
    with pytest.raises(ArgumentError, match=rf"{argument}=0.*must be a whole number"):
        sfm.tl.embed_tiles(cohort, "mean-intensity", **{argument: 0})


@pytest.mark.parametrize("other", [{"heads": 4}, {"resize_offset": 0.0}, {"eps": 1e-5}])
def test_what_is_kept_of_an_encoder_of_another_shape_is_not_taken(other):
    """The same weights make other numbers of the same pixels."""
    shape = {"dim": 16, "depth": 2, "heads": 2}
    first, second = sfm.models.new_encoder("kronos", **shape), sfm.models.new_encoder("kronos", **shape | other)
    assert state_hash(first) == state_hash(second)
    assert fingerprint(encoder_identity(first)) != fingerprint(encoder_identity(second))
    assert fingerprint(encoder_identity(first)) == fingerprint(
        encoder_identity(sfm.models.new_encoder("kronos", **shape))
    )
