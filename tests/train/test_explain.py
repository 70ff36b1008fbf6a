"""Fine-tuned B-cos blocks: shares of markers add up to what the model says, and a planted marker has the largest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError, TableError
from spatialfm.models.adapter import HEAD, read_adapter
from spatialfm.train.explain import BESIDE, by_channel

MARKERS = ["CD3", "pan-Cytokeratin", "CD68"]  # as panels call them; the second is Cytokeratin in the table
HOW = {"recipe": {"window": 32}}
CALL = {"markers": MARKERS, "batch_size": 16, "check_every": 5, "workers": 0, **HOW}


@pytest.fixture(scope="module")
def sdata():
    made = sfm.datasets.simulate_cohort(n_patients=4, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    sfm.pp.cell_table(made)
    table = made["table"]
    keratin = np.asarray(table[:, "Cytokeratin"].X).ravel()
    table.obs["kind"] = np.where(keratin > np.median(keratin), "high", "low")
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    encoder = sfm.models.new_encoder("virtues", dim=32, depth=2, heads=2, decoder_depth=1)
    sfm.models.save_trained(encoder, folder, {"license": "MIT"})
    return folder


@pytest.fixture(scope="module")
def tuned(sdata, base, tmp_path_factory):
    """All blocks are B-cos blocks, so that a token is of one marker."""
    out = tmp_path_factory.mktemp("run") / "kinds"
    encoder = sfm.train.finetune(
        sdata, "virtues", weights=base, out=out, label_key="kind", method="bcos", blocks=2, steps=100,
        learning_rate=3e-3, **CALL,
    )  # fmt: skip
    return out, encoder


def test_shares_add_up_to_the_logit_of_the_embedding_that_is_written(sdata, base, tuned):
    out, encoder = tuned
    shares = sfm.train.explain(sdata, "virtues", out, weights=base, **HOW)
    np.testing.assert_allclose(shares[[BESIDE, *MARKERS, "intercept"]].sum(axis=1), shares["logit"], atol=1e-5)
    # the logit is that of the layer on the windows' embeddings, computed here
    adapter = read_adapter(out)
    head = {name.removeprefix(HEAD): one for name, one in adapter.tensors.items() if name.startswith(HEAD)}
    from spatialfm.train.cells import CellWindows
    from spatialfm.train.tuning import FineTuning

    plan = FineTuning(sdata, "virtues", weights=base, markers=MARKERS, **HOW).plan(encoder)
    windows = CellWindows(plan, plan.cells.rows, np.full(len(plan.cells.rows), "any"))
    samples = [windows.sample(i, np.random.default_rng(0), augment=False) for i in range(8)]
    with torch.no_grad():
        embedding = (windows.encoding()(encoder, samples) - head["center"]) * head["scale"]
        logits = embedding @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(shares["logit"].to_numpy()[:8], logits.max(1).values.numpy(), rtol=1e-4, atol=1e-5)
    classes = np.array(adapter.card["cells"]["classes"])
    assert shares["label"].astype(str).tolist()[:8] == classes[logits.argmax(1).numpy()].tolist()


def test_the_marker_that_the_label_was_made_of_says_most(sdata, base, tuned):
    shares = sfm.train.explain(sdata, "virtues", tuned[0], weights=base, **HOW)
    truth = sdata["table"].obs.loc[shares.index, "kind"]
    assert (shares["label"].astype(str) == truth).mean() > 0.75
    called_high = shares["label"] == "high"
    apart = shares[MARKERS].where(called_high, -shares[MARKERS])  # towards "high"
    spread = apart.std()
    assert spread.idxmax() == "pan-Cytokeratin"


def test_it_is_written_where_the_figures_find_it(sdata, base, tuned, tmp_path):
    table = sdata["table"]
    some = table.obs_names[3:40].tolist()
    sfm.train.explain(sdata, "virtues", tuned[0], weights=base, cells=some, batch_size=7, key_added="why", **HOW)
    whole = sfm.train.explain(sdata, "virtues", tuned[0], weights=base, **HOW)
    written = table.obsm["why_contribution"]
    np.testing.assert_allclose(written.loc[some], whole.loc[some, written.columns], atol=1e-5)  # for any batch
    assert written.drop(index=some).isna().all(axis=None)
    assert table.obs["why"].notna().sum() == len(some)
    ax = sfm.pl.contributions(table, "why", cell=some[0], show=False)
    assert [text.get_text() for text in ax.get_yticklabels()][0] == "intercept"
    heat = sfm.pl.contributions(table, "why", show=False)
    assert {text.get_text() for text in heat.get_xticklabels()} >= {BESIDE, *MARKERS}
    record = table.uns["why"]["params"]
    assert (record["bcos_blocks"], record["n_cells"]) == (2, len(some))
    table.write_h5ad(tmp_path / "table.h5ad")


def test_the_folder_is_loaded_as_it_was_trained(sdata, base, tuned):
    out, encoder = tuned
    loaded = sfm.models.load("virtues", weights=base, adapter=out)
    for (name, one), (_, other) in zip(loaded.named_parameters(), encoder.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)
    embedded = sfm.tl.embed_cells(
        sdata, "virtues", weights=base, adapter=out, markers=MARKERS, copy=True, recipe={"window": 32}
    )
    assert np.isfinite(embedded.obsm["X_virtues_kinds"]).all()


def test_shares_add_up_with_units_on_top_too(sdata, base, tmp_path):
    call = CALL | {"steps": 3, "check_every": 1}
    out = tmp_path / "units"
    sfm.train.finetune(
        sdata,
        "virtues",
        weights=base,
        out=out,
        label_key="kind",
        method="bcos",
        blocks=1,
        head="bcos",
        learning_rate=3e-3,
        **call,
    )
    assert not read_adapter(out).tensors["head.center"].any()
    some = sdata["table"].obs_names[:20].tolist()
    shares = sfm.train.explain(sdata, "virtues", out, weights=base, cells=some, key_added="units", **HOW)
    np.testing.assert_allclose(shares[[BESIDE, *MARKERS, "intercept"]].sum(axis=1), shares["logit"], atol=1e-5)


def test_shares_of_tokens_are_put_to_their_markers():
    class Backbone(torch.nn.Module):
        n_prefix = 2

    encoder = torch.nn.Module()
    encoder.backbone = Backbone()
    packed = torch.arange(2 * 3 * 4.0)[:, None]  # two windows of a summary and two markers, four positions each
    expected = torch.arange(24.0).reshape(2, 3, 4).sum(2)
    torch.testing.assert_close(by_channel(packed, 2, 2, encoder), expected)
    behind = torch.arange(2 * 8.0).reshape(2, 8, 1)  # two tokens before, three of each of two markers
    torch.testing.assert_close(by_channel(behind, 2, 2, encoder)[0], torch.tensor([1.0, 9.0, 18.0]))
    grey = torch.arange(4 * 3.0).reshape(4, 3, 1)  # each marker is an image of its own
    torch.testing.assert_close(by_channel(grey, 2, 2, encoder)[1], torch.tensor([0.0, 21.0, 30.0]))


def test_what_has_no_shares_is_refused(sdata, base, tmp_path, tuned):
    sfm.train.finetune(
        sdata, "virtues", weights=base, out=tmp_path / "lora", label_key="kind", method="lora", steps=1, **CALL
    )
    with pytest.raises(ModelError, match="has no B-cos blocks.*method='bcos'"):
        sfm.train.explain(sdata, "virtues", tmp_path / "lora", weights=base, **HOW)
    with pytest.raises(TableError, match="'nobody' \\(cells=\\) is not among"):
        sfm.train.explain(sdata, "virtues", tuned[0], weights=base, cells=["nobody"], **HOW)
    with pytest.raises(ModelError, match="no blocks that can be made B-cos"):
        sfm.train.finetune(
            sdata, "resnet50", weights="random", out=tmp_path / "r", label_key="kind", method="bcos",
            **{k: v for k, v in CALL.items() if k != "recipe"},
        )  # fmt: skip
    assert not (tmp_path / "r").exists()
