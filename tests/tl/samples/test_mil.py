"""Multiple instance learning: networks, losses, cross-validation, attention."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from lifelines.statistics import logrank_test
from lifelines.utils import concordance_index
from scipy import stats
from sklearn import metrics

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, SpatialfmWarning, SurvivalError, TableError
from spatialfm.learn.bag_maps import gradient_shares
from spatialfm.learn.bag_network import GatedAttentionMIL, TransformerMIL, cox_loss
from spatialfm.learn.bag_training import BagRecipe, Bags, ClassTarget, NumberTarget, pad, predict, train
from spatialfm.learn.case_scores import (
    auroc,
    class_scores,
    correlation_within,
    cox_test_within,
    number_scores,
    rank_test_within,
    summarize,
    survival_scores,
)

SMALL = {"n_folds": 4, "n_seeds": 1, "n_heads": 2, "hidden": 8, "learning_rate": 1e-2, "max_epochs": 60, "patience": 60}
# what is not about how well networks do, but that all is done
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*networks were still getting better:spatialfm._errors.SpatialfmWarning"
)
QUICK = SMALL | {"n_folds": 2, "max_epochs": 3, "patience": 3}


def cohort(n_patients: int = 40, n_cells: int = 50, n_rare: int = 4, seed: int = 0) -> AnnData:
    """Cells of noise; patients of one class have a few of a rare phenotype, which decides all outcomes."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_patients * n_cells, 6)).astype(np.float32)
    patient = np.repeat(np.arange(n_patients), n_cells)
    ill = np.arange(n_patients) % 2 == 1
    rare = (np.tile(np.arange(n_cells), n_patients) < n_rare) & ill[patient]
    values[rare, 0] += 6
    time = rng.exponential(np.where(ill, 1.0, 12.0))
    obs = pd.DataFrame(
        {
            "sample": [f"S{p}_{i % 2}" for i, p in enumerate(patient)],
            "patient": [f"P{p}" for p in patient],
            "disease": np.where(ill, "yes", "no")[patient],
            "score": (2.0 * ill + 0.2 * rng.standard_normal(n_patients))[patient],
            "time": time[patient],
            "event": (rng.random(n_patients) < 0.9)[patient].astype(int),
            "rare": rare,
        },
        index=[f"c{i}" for i in range(len(patient))],
    )
    return AnnData(values, obs=obs, obsm={"spatial": rng.uniform(0, 100, (len(patient), 2))})


@pytest.fixture(scope="module")
def planted():
    return cohort()


@pytest.fixture
def cells(planted):
    return planted.copy()


@pytest.fixture(params=["attention", "transformer"])
def network(request):
    torch.manual_seed(0)
    network = BagRecipe(request.param, n_heads=2, hidden=4).network(5, 3).eval()
    torch.nn.init.normal_(network.head.weight)  # before training it is zero, and all outputs are the same
    return network


def first_score(adata, key="mil"):
    return adata.uns[key]["summary"].iloc[0]


# networks


def test_padding_and_order_of_cells_do_not_matter(network):
    x = torch.randn(3, 9, 5)
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[1, 4:] = False
    output, attention = network(x, mask)
    longer = torch.cat([x, 1e3 * torch.randn(3, 20, 5)], dim=1)
    longer[1, 4:9] = -77.0
    padded, padded_attention = network(longer, torch.nn.functional.pad(mask, (0, 20)))
    torch.testing.assert_close(padded, output, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded_attention[:, :9], attention, atol=1e-6, rtol=1e-5)
    assert (padded_attention[:, 9:] == 0).all()
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(3))
    alone, _ = network(x[1:2, :4], mask[1:2, :4])
    torch.testing.assert_close(alone[0], output[1], atol=1e-5, rtol=1e-5)
    order = torch.randperm(9)
    turned, turned_attention = network(x[:, order], mask[:, order])
    torch.testing.assert_close(turned, output, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turned_attention, attention[:, order], atol=1e-6, rtol=1e-5)


def test_gated_attention_is_its_formula():
    torch.manual_seed(1)
    network = GatedAttentionMIL(4, 2, n_heads=3, hidden=5)
    x = torch.randn(1, 7, 4)
    output, attention = network(x, torch.ones(1, 7, dtype=torch.bool))
    state = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    cells = x[0].numpy()
    pooled, weights = [], []
    for head in range(3):
        part = slice(5 * head, 5 * head + 5)
        value = np.tanh(cells @ state["value.weight"][part].T + state["value.bias"][part])
        gate = 1 / (1 + np.exp(-(cells @ state["gate.weight"][part].T + state["gate.bias"][part])))
        score = (value * gate) @ state["weight"][head]
        weights.append(np.exp(score) / np.exp(score).sum())
        pooled.append(weights[-1] @ cells)
    expected = np.concatenate(pooled) @ state["head.weight"].T + state["head.bias"]
    np.testing.assert_allclose(output[0].detach(), expected, atol=1e-5)
    np.testing.assert_allclose(attention[0].detach(), np.mean(weights, axis=0), atol=1e-6)


def test_large_bags_are_scored_in_chunks(monkeypatch):
    network, x = GatedAttentionMIL(4, 2, n_heads=2, hidden=3), torch.randn(2, 50, 4)
    mask = torch.ones(2, 50, dtype=torch.bool)
    whole = network(x, mask)
    monkeypatch.setattr("spatialfm.learn.bag_network.CHUNK", 7)
    with torch.no_grad():
        parts = network(x, mask)
    torch.testing.assert_close(parts[0], whole[0].detach())
    torch.testing.assert_close(parts[1], whole[1].detach())


def test_every_weight_of_the_networks_learns():
    for made in (GatedAttentionMIL(4, 2, n_heads=2, hidden=3), TransformerMIL(4, 2, n_heads=2, hidden=4)):
        output, _ = made(torch.randn(3, 6, 4), torch.ones(3, 6, dtype=torch.bool))
        output.square().sum().backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in made.parameters())


@pytest.mark.parametrize("ties", [False, True])
def test_cox_loss_is_breslows_partial_likelihood(ties):
    rng = np.random.default_rng(0)
    time = rng.integers(1, 8, 40).astype(float) if ties else rng.permutation(40) + 1.0
    event, risk = rng.random(40) < 0.6, rng.standard_normal(40)
    expected = 0.0
    for i in np.flatnonzero(event):
        expected -= risk[i] - np.log(np.exp(risk[time >= time[i]]).sum())
    loss = cox_loss(*(torch.as_tensor(values) for values in (risk, time, event)))
    assert loss.item() == pytest.approx(expected / event.sum())
    from statsmodels.duration.hazard_regression import PHReg

    model = PHReg(time, risk[:, None], status=event.astype(int), ties="breslow")
    assert loss.item() == pytest.approx(-model.loglike(np.array([1.0])) / event.sum())


def test_cox_loss_without_event_teaches_nothing():
    risk = torch.randn(4, requires_grad=True)
    loss = cox_loss(risk, torch.ones(4), torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not risk.grad.any()


# training


def test_bags_are_standardised_padded_and_thinned():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((30, 3)).astype(np.float32) * [1, 5, 0] + [0, 7, 2]
    bags = Bags(values, [np.arange(0, 4), np.arange(4, 16), np.arange(16, 30)])
    mean, sd = bags.moments(np.array([0, 2]))
    both = values[[*range(4), *range(16, 30)]]
    np.testing.assert_allclose(mean, both.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sd[:2], both.std(axis=0)[:2], rtol=1e-5)
    assert sd[2] == 1  # constant: left as it is
    x, mask = pad(bags, np.array([1, 0]), mean, sd, 8, np.random.default_rng(0), torch.device("cpu"))
    assert x.shape == (2, 8, 3)
    assert mask.sum(dim=1).tolist() == [8, 4]
    np.testing.assert_allclose(x[1, :4], (values[:4] - mean) / sd, rtol=1e-4, atol=1e-5)
    assert not x[1, 4:].any()


def test_training_stops_early_and_keeps_the_best():
    rng = np.random.default_rng(0)
    bags = Bags(rng.standard_normal((200, 3)).astype(np.float32), np.split(np.arange(200), 20))
    target = ClassTarget(rng.integers(0, 2, 20), 2)
    recipe = BagRecipe(n_heads=1, hidden=4, learning_rate=0.05, max_epochs=80, patience=5)
    state = torch.random.get_rng_state()
    trained = train(bags, target, np.arange(14), np.arange(14, 20), recipe, 0, torch.device("cpu"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert trained.n_epochs == trained.best_epoch + 5 < 80
    p = np.array([predict(trained, bags, i, recipe, torch.device("cpu"))[0] for i in range(14, 20)])
    weights = trained.target.weights[target.codes[14:]]
    loss = -(weights * np.log(p[np.arange(6), target.codes[14:]])).sum() / weights.sum()
    assert loss == pytest.approx(trained.loss, rel=1e-4)


@pytest.mark.parametrize("head", ["attention", "transformer"])
def test_a_few_small_steps_go_the_right_way_from_no_prediction_at_all(head):
    rng = np.random.default_rng(0)
    ill, rows = np.arange(60) % 3 == 0, np.split(np.arange(600), 60)
    values = rng.standard_normal((600, 3)) + 2 * np.repeat(ill, 10)[:, None] * np.array([1.0, 0, 0])
    bags, target = Bags(values.astype(np.float32), rows), ClassTarget(ill.astype(int), 2)
    recipe = BagRecipe(head, n_heads=8, hidden=4, max_epochs=20, patience=20)
    x, mask = torch.randn(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)
    for seed in range(4):
        assert head == "attention" or not recipe.network(3, 2)(x, mask)[0].any()
        trained = train(bags, target, np.arange(15), np.arange(15, 20), recipe, seed, torch.device("cpu"))
        p = [predict(trained, bags, bag, recipe, torch.device("cpu"))[0][1] for bag in range(20, 60)]
        assert metrics.roc_auc_score(ill[20:], p) > 0.95  # of the means alone: 1.00


def test_a_transformer_takes_every_cell_of_a_large_bag_once():
    rng = np.random.default_rng(0)
    bags = Bags(
        rng.standard_normal((100, 3)).astype(np.float32), [np.arange(0, 50), np.arange(50, 75), np.arange(75, 100)]
    )
    recipe = BagRecipe("transformer", n_heads=1, hidden=4, max_epochs=1, max_cells=20)
    trained = train(
        bags, NumberTarget(np.array([1.0, 2.0, 3.0])), np.array([1, 2]), np.array([1]), recipe, 0, torch.device("cpu")
    )
    _, attention = predict(trained, bags, 0, recipe, torch.device("cpu"))
    assert attention.shape == (50,)
    assert (attention > 0).all()
    assert attention.mean() == pytest.approx(1, abs=1e-5)


# the tool


@pytest.mark.parametrize("head", ["attention", "transformer"])
def test_a_planted_rare_phenotype_is_found_and_attended_to(cells, head):
    arguments = SMALL if head == "attention" else SMALL | {"learning_rate": 3e-3, "n_layers": 1}
    sfm.tl.mil(cells, use_rep="X", label_key="disease", head=head, **arguments)
    assert first_score(cells)["score"] == "auroc"
    assert first_score(cells)["mean"] > 0.9
    assert first_score(cells)["p_two_sided"] < 1e-3
    ill = cells.obs[cells.obs["disease"] == "yes"]
    attention = ill.groupby("rare")["mil_attention"].mean()
    assert attention[True] > 2 * attention[False]
    np.testing.assert_allclose(cells.obs.groupby("patient")["mil_attention"].mean(), 1, rtol=1e-4)
    patients = cells.uns["mil"]["patients"]
    np.testing.assert_allclose(patients["p_yes"] + patients["p_no"], 1)
    assert ((patients["p_yes"] > 0.5) == (patients["label"] == "yes")).mean() > 0.85
    assert np.bincount(patients["fold"]).tolist() == [10, 10, 10, 10]


@pytest.mark.slow
@pytest.mark.parametrize("head", ["stamp", "histobistro"])
def test_published_transformers_find_it_too(cells, head):
    arguments = SMALL | {"learning_rate": 3e-3, "n_layers": 1}
    sfm.tl.mil(cells, use_rep="X", label_key="disease", head=head, gradients=True, **arguments)
    assert first_score(cells)["mean"] > 0.9
    ill = cells.obs["disease"] == "yes"
    gradient = cells.obsm["mil_gradient"][ill]
    assert list(gradient) == ["no", "yes"]
    rare = cells.obs["rare"][ill]
    more = gradient["yes"] - gradient["no"]  # of two logits, only their difference counts
    assert more[rare].mean() > 3 * more[~rare].abs().mean() > 0


def test_shares_of_a_bcos_network_add_up_and_name_the_planted_column(cells, tmp_path):
    cells.var_names = ["CD3", "CD8", "CD20", "CD68", "CK", "Ki67"]
    arguments = SMALL | {"n_folds": 2, "n_seeds": 2}
    sfm.tl.mil(cells, use_rep="X", label_key="disease", head="bcos", **arguments)
    record = cells.uns["mil"]
    assert first_score(cells)["mean"] > 0.9
    shares = record["contributions"].set_index(["patient", "output"])
    markers = list(cells.var_names)
    assert list(shares) == [*markers, "intercept", "total"]
    np.testing.assert_allclose(shares[[*markers, "intercept"]].sum(axis=1), shares["total"], atol=1e-5)
    ill = record["patients"].index[record["patients"]["label"] == "yes"]
    assert shares.loc[[(one, "yes") for one in ill], markers].mean().idxmax() == "CD3"  # which was planted
    # cells: with the intercept they add up to the logit of their patient
    of_cells = cells.obsm["mil_contribution"].groupby(cells.obs["patient"]).sum()
    whole = shares["total"] - shares["intercept"]
    for name in ("no", "yes"):
        np.testing.assert_allclose(of_cells[name], whole.xs(name, level="output").loc[of_cells.index], atol=1e-5)
    rare = cells.obs["rare"]
    share = cells.obsm["mil_contribution"]["yes"]
    assert share[rare].median() > share[~rare].max()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    # one network: probabilities are the softmax of these logits
    sfm.tl.mil(cells, use_rep="X", label_key="disease", head="bcos", **arguments | {"n_seeds": 1, "max_epochs": 5})
    record = cells.uns["mil"]
    total = record["contributions"].set_index(["patient", "output"])["total"].unstack()
    expected = 1 / (1 + np.exp(total["no"] - total["yes"]))
    np.testing.assert_allclose(record["patients"]["p_yes"], expected.loc[record["patients"].index], atol=1e-5)


def test_shares_of_a_number_are_in_its_unit(cells):
    arguments = QUICK | {"head": "bcos", "bag": "sample"}
    sfm.tl.mil(cells, use_rep="X", target_key="score", **arguments)
    record = cells.uns["mil"]
    shares = record["contributions"].set_index("patient")
    np.testing.assert_allclose(shares["total"], record["patients"]["predicted"], atol=1e-5)
    np.testing.assert_allclose(shares.iloc[:, 1:-1].sum(axis=1), shares["total"], atol=1e-5)
    of_cells = cells.obsm["mil_contribution"]["predicted"].groupby(cells.obs["sample"]).sum()
    of_patient = of_cells.groupby(of_cells.index.str.split("_").str[0].str.replace("S", "P")).sum()
    np.testing.assert_allclose(of_patient, (shares["total"] - shares["intercept"]).loc[of_patient.index], atol=1e-5)


def test_gradients_are_those_of_finite_differences(cells):
    bags = Bags(cells.X[:50].astype(float), [np.arange(30), np.arange(30, 50)])
    cpu, recipe = torch.device("cpu"), BagRecipe(head="stamp", n_heads=2, hidden=4, max_epochs=3, max_cells=12)
    trained = train(bags, NumberTarget(np.array([1.0, 3.0])), np.arange(2), np.arange(2), recipe, 0, cpu)
    found = gradient_shares(trained, bags, 0, recipe, cpu)
    assert found.output + 2 == pytest.approx(predict(trained, bags, 0, recipe, cpu)[0], abs=1e-5)  # the mean is 2
    place, step = 7, 1e-2  # a cell, moved along itself: the share is the derivative of the prediction
    values = bags.values.copy()
    around = []
    for sign in (-1, 1):
        scaled = (values[place] - trained.mean) / trained.sd * (1 + sign * step)
        moved = values.copy()
        moved[place] = scaled * trained.sd + trained.mean
        around.append(predict(trained, Bags(moved, bags.rows), 0, recipe, cpu)[0][0])
    assert found.cells[place, 0] == pytest.approx((around[1] - around[0]) / (2 * step), rel=0.02, abs=2e-5)


def test_groups_of_risk_come_from_training_patients(cells):
    sfm.tl.mil(cells, use_rep="X", time_key="time", event_key="event", **QUICK)
    record = cells.uns["mil"]
    patients, folds = record["patients"], record["statistics_folds"].set_index("fold")
    threshold = patients["fold"].map(folds["threshold"])
    assert ((patients["risk"] > threshold) == (patients["risk_group"] == "high")).all()
    assert folds["n_high"].to_dict() == (patients["risk_group"] == "high").groupby(patients["fold"]).sum().to_dict()
    part = patients[patients["fold"] == 0]
    high = part["risk_group"] == "high"
    test = logrank_test(part["time"][high], part["time"][~high], part["event"][high], part["event"][~high])
    assert folds.loc[0, "p_value"] == pytest.approx(test.p_value, abs=1e-6)
    assert folds.loc[0, "concordance"] == pytest.approx(
        concordance_index(part["time"], -part["risk"], part["event"]), abs=1e-9
    )
    # what held-out patients went through moves no threshold of their own fold
    other = cells.copy()
    mine = patients.index[patients["fold"] == 0]
    moved = other.obs["patient"].isin(mine)
    other.obs.loc[moved, "time"] = 1 / other.obs.loc[moved, "time"]  # their order turned round
    sfm.tl.mil(other, use_rep="X", time_key="time", event_key="event", **QUICK)
    again = other.uns["mil"]["statistics_folds"].set_index("fold")["threshold"]
    assert again[0] == folds.loc[0, "threshold"]
    assert again[1] != folds.loc[1, "threshold"]
    # nor do their cells
    other = cells.copy()
    other.X[moved.to_numpy()] += 0.5
    sfm.tl.mil(other, use_rep="X", time_key="time", event_key="event", **QUICK)
    shifted = other.uns["mil"]
    assert shifted["statistics_folds"].set_index("fold")["threshold"][0] == folds.loc[0, "threshold"]
    assert not np.allclose(shifted["patients"]["risk"][mine], patients["risk"][mine])
    with pytest.raises(SurvivalError, match="mil"):
        sfm.tl.logrank(
            AnnData(obs=patients.assign(patient=patients.index).astype({"event": int})),
            "risk_group", time_key="time", event_key="event",
        )  # fmt: skip


def test_statistics_are_those_that_stamp_prints(cells):
    sfm.tl.mil(cells, use_rep="X", label_key="disease", **QUICK | {"n_folds": 3, "n_seeds": 2})
    record = cells.uns["mil"]
    scores = []
    for _, part in record["patients"].groupby("fold"):
        truth, called = part["label"] == "yes", part["p_yes"] > part["p_no"]
        scores.append(
            {
                "auroc": metrics.roc_auc_score(truth, part["p_yes"]),
                "average_precision": metrics.average_precision_score(truth, part["p_yes"]),
                "f1": metrics.f1_score(truth, called),
            }
        )
    scores = pd.DataFrame(scores)
    low, high = stats.t.interval(0.95, df=2, loc=scores.mean(), scale=scores.sem())
    row = record["statistics"].loc["yes"]
    assert row["n"] == 20
    for place, name in enumerate(scores):
        assert row[name] == pytest.approx(scores[name].mean())
        assert row[f"{name}_low"] == pytest.approx(low[place])
        assert row[f"{name}_high"] == pytest.approx(high[place])
    sfm.tl.mil(cells, use_rep="X", target_key="score", **QUICK, key_added="number")
    folds = cells.uns["number"]["statistics_folds"]
    part = cells.uns["number"]["patients"].query("fold == 1")
    assert folds["rmse"][1] == pytest.approx(metrics.mean_squared_error(part["target"], part["predicted"]) ** 0.5)


def test_what_padding_is_to_a_network_and_how_steps_are_made():
    bags = Bags(np.ones((7, 2)), [np.arange(2), np.arange(2, 7)])
    none, cpu = np.zeros(2), torch.device("cpu")
    rng = np.random.default_rng(0)
    x, mask = pad(bags, np.arange(2), none, np.ones(2), 6, rng, cpu)
    assert x.shape == (2, 5, 2)
    assert mask.sum(dim=1).tolist() == [2, 5]
    x, mask = pad(bags, np.arange(2), none, np.ones(2), 6, rng, cpu, as_published=True)
    assert x.shape == (2, 6, 2)  # up to max_cells
    assert mask.all()
    assert x.sum(dim=(1, 2)).tolist() == [4, 10]
    recipe = BagRecipe(learning_rate=1e-3, one_cycle=True, weight_decay=0.1, max_epochs=4, batch_size=2)
    optimizer = recipe.optimizer(torch.nn.Linear(2, 1))
    assert type(optimizer) is torch.optim.AdamW
    schedule, rates = recipe.schedule(optimizer, 5), []
    for _ in range(12):  # four epochs of three steps
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-3 / 25)
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates[-1] < 1e-4
    with pytest.raises(ValueError, match="total"):
        schedule.step()


def test_classes_weigh_alike_however_bags_are_put_into_steps():
    target = ClassTarget(np.array([0, 0, 0, 1]), 2).of(np.arange(4))
    outputs = torch.zeros(1, 2)
    by_one = [float(target.loss(outputs, np.array([bag]), True)) for bag in (0, 3)]
    assert by_one[1] == pytest.approx(3 * by_one[0])
    assert float(target.loss(outputs, np.array([3]))) == pytest.approx(np.log(2))  # a mean by weight has lost it
    outputs = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    whole = float(target.loss(outputs, np.arange(4)))
    for steps in ([[0, 1, 2], [3]], [[0], [1], [2, 3]], [[2, 0], [3, 1]]):
        parts = [len(step) * float(target.loss(outputs[step], np.array(step), True)) for step in steps]
        assert sum(parts) / 4 == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(("padding", "expected"), [("masked", 0.5), ("published", 33.4 / 190)])
def test_without_signal_a_rare_class_is_as_probable_as_a_frequent_one(monkeypatch, padding, expected):
    # of 190 pairs of bags one is rare alone, and 36 have one of each, whose weights are 0.9 and 0.1
    from spatialfm.learn import bag_training

    looks = iter(range(0, -1000, -1))
    monkeypatch.setattr(bag_training, "_loss", lambda *_: float(next(looks)))  # the last weights are kept
    bags = Bags(np.zeros((20, 2), np.float32), [np.array([i]) for i in range(20)])
    target = ClassTarget(np.array([1, 1] + [0] * 18), 2)
    recipe = BagRecipe(
        n_heads=1, hidden=2, learning_rate=0.02, batch_size=2, max_epochs=70, padding=padding, max_cells=1
    )
    trained = train(bags, target, np.arange(20), np.arange(20), recipe, 0, torch.device("cpu"))
    rare = predict(trained, bags, 0, recipe, torch.device("cpu"))[0][1]
    assert rare == pytest.approx(expected, abs=0.06)


def test_survival_is_not_learned_from_one_patient_at_a_time(cells):
    with pytest.raises(TableError, match="batch_size=1 with survival learns nothing"):
        sfm.tl.mil(cells, use_rep="X", time_key="time", event_key="event", batch_size=1)


def test_padding_as_published_is_stamps_alone(cells):
    with pytest.raises(TableError, match="padding='published' is what STAMP does, not head='attention'"):
        sfm.tl.mil(cells, use_rep="X", label_key="disease", padding="published", **QUICK)
    seen = SMALL | {"n_folds": 2, "n_layers": 1, "max_epochs": 2, "head": "stamp", "max_cells": 60}
    sfm.tl.mil(cells, use_rep="X", label_key="disease", padding="published", **seen)
    one = cells.uns["mil"]["patients"]["p_yes"]
    assert cells.uns["mil"]["params"]["padding"] == "published"
    sfm.tl.mil(cells, use_rep="X", label_key="disease", **seen)
    assert not np.allclose(one, cells.uns["mil"]["patients"]["p_yes"])


def test_shuffled_labels_are_not_predicted(cells):
    patients, scores = cells.obs["patient"].unique(), []
    for seed in range(6):
        labels = dict(zip(patients, np.random.default_rng(seed).permutation(np.arange(40) % 2), strict=True))
        cells.obs["null"] = cells.obs["patient"].map(labels)
        sfm.tl.mil(cells, use_rep="X", label_key="null", **SMALL | {"n_folds": 2, "max_epochs": 30, "patience": 5})
        scores.append(first_score(cells)["mean"])
    assert abs(np.mean(scores) - 0.5) < 0.15  # one cohort has a standard deviation of about 0.12


def test_numbers_and_survival_are_predicted(cells):
    sfm.tl.mil(cells, use_rep="X", target_key="score", **SMALL | {"n_folds": 2}, key_added="number")
    patients = cells.uns["number"]["patients"]
    assert first_score(cells, "number")["mean"] > 0.8
    assert stats.pearsonr(patients["target"], patients["predicted"])[0] > 0.8
    assert patients["predicted"].std() > 0.5  # on the scale of the target
    sfm.tl.mil(cells, use_rep="X", time_key="time", event_key="event", **SMALL | {"n_folds": 2}, key_added="survival")
    patients = cells.uns["survival"]["patients"]
    assert first_score(cells, "survival")["mean"] > 0.6
    assert first_score(cells, "survival")["p_two_sided"] < 0.05
    ill = cells.obs.drop_duplicates("patient").set_index("patient")["disease"].loc[patients.index] == "yes"
    assert patients["risk"][ill].mean() > patients["risk"][~ill].mean()
    rare = cells.obs[cells.obs["disease"] == "yes"].groupby("rare")
    assert rare["survival_attention"].mean()[True] > 1.5


def test_what_becomes_of_a_patient_has_no_part_in_its_prediction(cells):
    sfm.tl.mil(cells, use_rep="X", target_key="score", **QUICK, key_added="one")
    mine = cells.obs["patient"] == "P3"
    other = cells.copy()
    other.obs.loc[mine, "score"] += 1e-3  # not enough to change ranks, and with them the folds
    sfm.tl.mil(other, use_rep="X", target_key="score", **QUICK, key_added="one")
    one, two = (data.uns["one"]["patients"] for data in (cells, other))
    fold = one.loc["P3", "fold"]
    assert (one["fold"] == two["fold"]).all()
    same = one["predicted"] == two["predicted"]
    assert same[one["fold"] == fold].all()
    assert not same[one["fold"] != fold].any()
    np.testing.assert_array_equal(cells.obs["one_attention"][mine], other.obs["one_attention"][mine])


def test_results_repeat_and_are_stored(cells, tmp_path):
    record = sfm.tl.mil(cells, use_rep="X", label_key="disease", **QUICK | {"n_seeds": 2, "max_cells": 20}, copy=True)
    assert "mil" not in cells.uns
    assert "mil_attention" not in cells.obs
    torch.rand(3)
    sfm.tl.mil(cells, use_rep="X", label_key="disease", **QUICK | {"n_seeds": 2, "max_cells": 20})
    pd.testing.assert_frame_equal(cells.uns["mil"]["patients"], record["patients"])
    pd.testing.assert_series_equal(cells.obs["mil_attention"], record["attention"])
    folds = cells.uns["mil"]["folds"]
    assert folds[["fold", "seed"]].values.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert (folds[["n_train", "n_validation", "n_test"]].sum(axis=1) == 40).all()
    named = pd.concat([folds.assign(use_rep="a"), folds.assign(use_rep="b")])
    assert len(sfm.metrics.compare_representations(named, "auroc", run_key=["fold", "seed"])) == 2
    cells.write_h5ad(tmp_path / "cells.h5ad")


def test_bags_of_samples_and_patients_left_out(cells):
    cells.obs["disease"] = cells.obs["disease"].astype(object)
    cells.obs.loc[cells.obs["patient"].isin(["P0", "P1"]), "disease"] = None
    sfm.tl.mil(cells, use_rep="X", label_key="disease", bag="sample", on_missing="drop", **QUICK)
    gone = cells.obs["patient"].isin(["P0", "P1"])
    assert cells.obs["mil_attention"][gone].isna().all()
    np.testing.assert_allclose(cells.obs[~gone].groupby("sample")["mil_attention"].mean(), 1, rtol=1e-4)
    assert len(cells.uns["mil"]["patients"]) == 38
    assert cells.uns["mil"]["params"]["n_dropped"] == 2


def test_permutations_repeat_everything(cells):
    quick = SMALL | {"n_folds": 2, "max_epochs": 30, "patience": 30}
    sfm.tl.mil(cells, use_rep="X", label_key="disease", **quick, n_permutations=4)
    summary = cells.uns["mil"]["summary"]
    assert summary["p_value"].iloc[0] == pytest.approx(0.2)
    assert summary["p_value"].iloc[1:].isna().all()


def test_networks_that_had_no_time_are_told_of(cells):
    cells.X[(cells.obs["disease"] == "yes").to_numpy()] += 2  # each step is one in the right direction
    with pytest.warns(SpatialfmWarning, match=r"2 of 2 networks were still getting better after max_epochs=2"):
        sfm.tl.mil(cells, use_rep="X", label_key="disease", **QUICK | {"max_epochs": 2, "learning_rate": 1e-4})


def test_classes_against_the_rest(cells, tmp_path):
    three = {f"P{i}": ["a/z", "b", "c"][i % 3] for i in range(40)}
    cells.obs["arm"] = cells.obs["patient"].map(three)
    sfm.tl.mil(cells, use_rep="X", label_key="arm", **QUICK | {"n_seeds": 2})
    record = cells.uns["mil"]
    table, patients = record["classes"], record["patients"]
    assert table["n"].to_dict() == {"a/z": 14, "b": 13, "c": 13}
    b, rest = (patients.loc[where, "p_b"] for where in (patients["label"] == "b", patients["label"] != "b"))
    assert table.loc["b", "p_t_test"] == pytest.approx(stats.ttest_ind(b, rest).pvalue)
    assert table.loc["b", "f1_low"] <= table.loc["b", "f1"] <= table.loc["b", "f1_high"]
    assert list(patients.columns[-3:]) == ["p_a_z", "p_b", "p_c"]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    assert "held-out probability" in sfm.pl.attention(cells, "S0_0", show=False).get_title(loc="left")
    assert np.isnan(first_score(cells)["p_two_sided"])
    assert record["params"]["positive"] == ""


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (None, {"label_key": None}, TableError, r"The task does not follow from no key. Pass label_key="),
        (None, {"target_key": "score"}, TableError, "does not follow from label_key=, target_key="),
        (None, {"task": "survival"}, TableError, "task='survival' does not follow from label_key="),
        (None, {"task": "ranking"}, ArgumentError, "task='ranking'.*'survival'"),
        (None, {"label_key": None, "time_key": "time"}, TableError, "does not follow from time_key="),
        (None, {"head": "mean"}, ArgumentError, "head='mean'.*'attention', 'transformer'"),
        (None, {"bag": "slide"}, ArgumentError, "bag='slide'.*'patient' or 'sample'"),
        (None, {"n_folds": 25}, TableError, "fewer than 25 patients, which n_folds=25 with validation needs"),
        (None, {"n_folds": 1}, ArgumentError, "n_folds=1.*at least 2"),
        (None, {"hidden": 8, "n_heads": 0}, ArgumentError, "n_heads=0.*at least 1"),
        (None, {"learning_rate": 0}, ArgumentError, "learning_rate=0"),
        (None, {"validation_size": 1.0}, ArgumentError, "validation_size=1.0"),
        (None, {"label_key": None, "target_key": "text"}, TableError, r"obs\['text'\] \(target_key=\) is not a finite"),
        (None, {"label_key": None, "target_key": "one"}, TableError, r"is 1 throughout"),
        (
            None,
            {"label_key": None, "time_key": "time", "event_key": "event", "bag": "sample"},
            TableError,
            "bag='sample' would count the time",
        ),
        (None, {"label_key": None, "time_key": "early", "event_key": "event"}, SurvivalError, "negative or infinite"),
        (None, {"label_key": None, "time_key": "time", "event_key": "none"}, SurvivalError, "0 patients have an event"),
        ("one class", {}, TableError, "All 40 patients are 'yes'"),
        ("two labels", {}, ClinicalError, "1 patient has more than one value in obs"),
        ("two patients", {}, ClinicalError, "belongs to more than one patient"),
        ("nan", {}, TableError, "1 of 2000 rows of 'X' hold NaN"),
        ("few", {}, TableError, r"fewer than 4 patients"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(cells, change, arguments, error, message):
    cells.obs = cells.obs.assign(text="a", one=1, none=0, early=-1.0)
    if change == "one class":
        cells.obs["disease"] = "yes"
    elif change == "two labels":
        cells.obs.loc["c0", "disease"] = "yes"
    elif change == "two patients":
        cells.obs.loc["c0", "sample"] = "S1_0"
    elif change == "nan":
        cells.X[3, 1] = np.nan
    elif change == "few":
        cells = cells[cells.obs["patient"].isin(["P0", "P1", "P2"])].copy()
    with pytest.raises(error, match=message):
        sfm.tl.mil(cells, **{"use_rep": "X", "label_key": "disease"} | QUICK | arguments)
    assert "mil" not in cells.uns
    assert "mil_attention" not in cells.obs


def test_ten_cells_a_patient_each():
    cells = cohort(10, 1, 1)
    sfm.tl.mil(cells, use_rep="X", label_key="disease", **QUICK)
    assert (cells.obs["mil_attention"] == 1).all()


# scores and tests


def test_class_scores_are_those_of_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    truth, p = rng.integers(0, 2, 60), rng.random(60)
    found = class_scores(truth, np.column_stack([1 - p, p]), 1)
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, p))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(truth, p))
    assert found["f1"] == pytest.approx(metrics.f1_score(truth, p > 0.5))
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, p > 0.5, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, p > 0.5))
    other = class_scores(truth, np.column_stack([1 - p, p]), 0)
    assert other["f1"] == pytest.approx(metrics.f1_score(truth == 0, p <= 0.5))
    assert auroc(truth, np.column_stack([1 - p, p]), 1) == pytest.approx(found["auroc"])
    three, q = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    expected = metrics.roc_auc_score(three, q, multi_class="ovo")
    assert auroc(three, q, 2) == pytest.approx(expected)
    assert class_scores(three, q, 2)["auroc"] == pytest.approx(expected)


def test_scores_of_numbers_and_survival():
    from lifelines.utils import concordance_index
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    truth = rng.standard_normal(30)
    predicted = truth + rng.standard_normal(30)
    found = number_scores(truth, predicted)
    assert found["r2"] == pytest.approx(r2_score(truth, predicted))
    assert found["spearman"] == pytest.approx(stats.spearmanr(truth, predicted)[0])
    assert np.isnan(number_scores(truth, np.ones(30))["pearson"])
    time, event = rng.exponential(size=30), rng.random(30) < 0.5
    assert survival_scores(time, event, predicted)["concordance"] == pytest.approx(
        concordance_index(time, -predicted, event)
    )
    assert np.isnan(survival_scores(time, np.zeros(30, bool), predicted)["concordance"])
    assert np.isnan(survival_scores(np.array([1.0, 2.0]), np.array([False, True]), np.ones(2))["concordance"])


def test_two_sided_tests_in_one_fold_are_the_usual_ones():
    from lifelines.statistics import logrank_test

    rng = np.random.default_rng(0)
    score, positive, fold = rng.standard_normal(40).round(1), rng.random(40) < 0.4, np.zeros(40, int)
    expected = stats.mannwhitneyu(score[positive], score[~positive], method="asymptotic", use_continuity=False).pvalue
    assert rank_test_within(score, positive, fold) == pytest.approx(expected)
    other = score + 0.5 * rng.standard_normal(40)
    assert correlation_within(score, other, fold) == pytest.approx(stats.pearsonr(score, other).pvalue)
    time, event = rng.permutation(40) + 1.0, rng.random(40) < 0.7
    found = cox_test_within(time, event, positive.astype(float), fold)
    assert found == pytest.approx(
        logrank_test(time[positive], time[~positive], event[positive], event[~positive]).p_value
    )


def test_folds_need_not_be_on_one_scale():
    rng = np.random.default_rng(0)
    positive, fold = np.tile([True, False], 30), np.repeat([0, 1, 2], 20)
    score = positive + 0.7 * rng.standard_normal(60)
    shifted = score + 100.0 * fold
    assert rank_test_within(shifted, positive, fold) == pytest.approx(rank_test_within(score, positive, fold))
    assert rank_test_within(shifted, positive, fold) < 1e-3
    assert stats.mannwhitneyu(shifted[positive], shifted[~positive]).pvalue > 0.1
    time = rng.exponential(np.where(positive, 1.0, 5.0))
    event = np.ones(60, bool)
    assert cox_test_within(time, event, shifted, fold) == pytest.approx(
        cox_test_within(time, event, score, fold), rel=1e-6
    )
    assert correlation_within(shifted, score, fold) < 1e-6
    assert np.isnan(rank_test_within(np.ones(60), positive, fold))
    assert np.isnan(cox_test_within(time, event, np.ones(60), fold))


def test_summaries_are_students_intervals():
    runs = pd.DataFrame({"fold": range(5), "mae": [3.0, 2.0, 4.0, 5.0, np.nan], "auroc": [0.9, 1.0, 0.95, 0.8, 1.0]})
    table = summarize(runs, [], ["mae", "auroc"], 1 / 4, published=False).set_index("score")
    half = (
        stats.t.ppf(0.975, 3) * np.std([3.0, 2.0, 4.0, 5.0], ddof=1) * np.sqrt(1 / 4 + 1 / 4)
    )  # 4 runs; test to train
    found = table.loc["mae", ["n_runs", "mean", "low", "high"]].astype(float)
    np.testing.assert_allclose(found, [4, 3.5, 3.5 - half, 3.5 + half])
    assert table.loc["auroc", "high"] == 1.0  # no AUROC is above
    single = summarize(runs.iloc[:1], [], ["mae"], 1 / 4).iloc[0]
    assert np.isnan(single[["sd", "low", "high"]].astype(float)).all()


@pytest.mark.parametrize("head", ["stamp", "histobistro", "bcos"])
def test_one_patient_or_one_value_is_refused_whatever_the_head(cells, head):
    alone = cells[cells.obs["patient"] == "P1"].copy()
    for arguments, message in (
        ({"label_key": "disease"}, "one class cannot be told from another"),
        ({"target_key": "score"}, "1 patients are too few"),
    ):
        with pytest.raises(TableError, match=message):
            sfm.tl.mil(alone, use_rep="X", head=head, **arguments, **QUICK)
    cells.obs["score"] = 2.0
    with pytest.raises(TableError, match="is 2 throughout"):
        sfm.tl.mil(cells, use_rep="X", head=head, target_key="score", **QUICK)
    assert "mil" not in cells.uns
