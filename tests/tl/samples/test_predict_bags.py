"""Published networks on patients: files as they are published, numbers of the official code, refusals."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError, WeightsError
from spatialfm.learn.bag_published import HistoBistroMIL, StampMIL


def tiles(bags: dict[str, np.ndarray]) -> AnnData:
    """Rows of several patients, mixed."""
    values, owner = np.vstack(list(bags.values())), np.repeat(list(bags), [len(bag) for bag in bags.values()])
    order = np.random.default_rng(0).permutation(len(values))
    obs = pd.DataFrame({"patient": owner[order], "sample": owner[order]}, index=[f"t{i}" for i in range(len(order))])
    return AnnData(obs=obs, obsm={"X_features": values[order], "spatial": np.zeros((len(order), 2))})


@pytest.fixture
def small(tmp_path):
    torch.manual_seed(0)
    network = StampMIL(3, 2, width=8, n_heads=2, n_layers=1, feedforward=8).eval()
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    settings = {"categories": ["MSS", "MSI"], "n_heads": 2, "task": "classification", "model_class": argparse.Namespace}
    torch.save({"state_dict": state, "hyper_parameters": settings}, tmp_path / "model.ckpt")
    rng = np.random.default_rng(1)
    bags = {name: rng.normal(size=(n, 3)).astype(np.float32) for name, n in (("B", 7), ("A", 4), ("C", 1))}
    return network, tmp_path / "model.ckpt", bags


@pytest.mark.goldens
@pytest.mark.parametrize(("case", "layout"), [("stamp1", "stamp_stamp1"), ("hb1", "histobistro_hb1")])
def test_numbers_of_the_official_code(case, layout, reference, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(reference))
    sys.modules.pop("synthetic_weights", None)
    from synthetic_weights import synthetic_weights

    weights = synthetic_weights(reference / "layouts" / f"{layout}.json")
    state = {f"model.{name}": torch.from_numpy(values) for name, values in weights.items()}
    if case == "hb1":
        state["criterion.pos_weight"] = torch.tensor([3.0])
    torch.save({"state_dict": state, "hyper_parameters": {"config": argparse.Namespace()}}, tmp_path / "model.pth")
    with np.load(reference / "goldens" / "secondary.npz") as goldens:
        bags, logits = goldens[f"{case}/bag"], goldens[f"{case}/logits"].astype(float)
    adata = tiles({f"P{i}": bag for i, bag in enumerate(bags)})
    sfm.tl.predict_bags(adata, tmp_path / "model.pth", use_rep="X_features")
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = adata.uns["bags"]["patients"].filter(like="p_").to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bags_are_patients_whole_and_as_they_are(small):
    network, file, bags = small
    adata = tiles(bags)
    sfm.tl.predict_bags(adata, file, use_rep="X_features", gradients=True)
    table = adata.uns["bags"]["patients"]
    assert table.index.tolist() == ["A", "B", "C"]
    assert table["n"].tolist() == [4, 7, 1]
    for name, bag in bags.items():
        mine = (adata.obs["patient"] == name).to_numpy()
        x = torch.from_numpy(adata.obsm["X_features"][mine])[None].requires_grad_(True)
        output, attention = network(x, torch.ones(1, len(bag), dtype=torch.bool))
        expected = output.softmax(dim=1)[0].detach().numpy()
        np.testing.assert_allclose(table.loc[name, ["p_MSS", "p_MSI"]].astype(float), expected, atol=1e-6)
        assert table.loc[name, "predicted"] == ["MSS", "MSI"][expected.argmax()]
        np.testing.assert_allclose(adata.obs["bags_attention"][mine], attention[0].detach() * len(bag), rtol=1e-4)
        (gradient,) = torch.autograd.grad(output[0, 1], x)
        share = (x * gradient).sum(dim=2)[0].detach()
        np.testing.assert_allclose(adata.obsm["bags_gradient"]["MSI"][mine], share, atol=1e-6)
    assert adata.uns["bags"]["params"]["network"] == "StampMIL"
    ax = sfm.pl.attention(adata, "A", key="bags", show=False)
    assert ax.get_title(loc="left").startswith("A: predicted MS")


def test_a_single_output_is_the_logit_of_the_second_class_a_risk_or_a_number(tmp_path):
    torch.manual_seed(0)
    network = HistoBistroMIL(3, 1, n_heads=1, n_layers=1).eval()
    torch.save(network.state_dict(), tmp_path / "one.pth")
    bag = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    adata = tiles({"A": bag})
    with torch.no_grad():
        logit = float(network(torch.from_numpy(bag)[None], torch.ones(1, 5, dtype=torch.bool))[0])
    record = sfm.tl.predict_bags(adata, tmp_path / "one.pth", use_rep="X_features", classes=["wild", "BRAF"], copy=True)
    assert record["patients"].loc["A", "p_BRAF"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
    assert record["patients"].loc["A", "p_wild"] == pytest.approx(1 - 1 / (1 + np.exp(-logit)), abs=1e-6)
    assert "bags" not in adata.uns
    for task, column in (("survival", "risk"), ("regression", "predicted")):
        record = sfm.tl.predict_bags(adata, tmp_path / "one.pth", use_rep="X_features", task=task, copy=True)
        assert record["patients"].loc["A", column] == pytest.approx(logit, abs=1e-5)
        assert "risk_group" not in record["patients"]
    for median, group in ((logit - 0.1, "high"), (logit + 0.1, "low")):  # of the patients that it was trained on
        settings = {"task": "survival", "train_pred_median": median}
        torch.save({"state_dict": network.state_dict(), "hyper_parameters": settings}, tmp_path / "survival.ckpt")
        record = sfm.tl.predict_bags(adata, tmp_path / "survival.ckpt", use_rep="X_features", copy=True)
        assert record["patients"].loc["A", "risk_group"] == group


def test_refusals_name_the_reason_and_nothing_is_written(small, tmp_path):
    _, file, bags = small
    adata = tiles(bags)
    adata.obsm["X_other"] = np.zeros((adata.n_obs, 5))
    with pytest.raises(TableError, match=r"takes 3 columns, and 'X_other' \(use_rep=\) has 5"):
        sfm.tl.predict_bags(adata, file, use_rep="X_other")
    with pytest.raises(TableError, match="classes= has 3 names; the network tells 2 classes apart"):
        sfm.tl.predict_bags(adata, file, use_rep="X_features", classes=["a", "b", "c"])
    with pytest.raises(TableError, match="task='survival' is one number, and the network gives 2"):
        sfm.tl.predict_bags(adata, file, use_rep="X_features", task="survival")
    with pytest.raises(WeightsError, match="No weights file"):
        sfm.tl.predict_bags(adata, tmp_path / "none.ckpt", use_rep="X_features")
    adata.obsm["X_features"][0, 0] = np.nan
    with pytest.raises(TableError, match="NaN"):
        sfm.tl.predict_bags(adata, file, use_rep="X_features")
    assert not adata.uns
    assert "bags_attention" not in adata.obs
