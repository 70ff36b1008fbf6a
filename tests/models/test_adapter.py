"""Files of adapters: what is in them, whose they are, and that no other model takes one."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError, TableError, WeightsError
from spatialfm.cohort.comparability import shared_columns
from spatialfm.models import adapter as adapters
from spatialfm.models.family import shape_of

NAME = "backbone.blocks.0.0.attn.qkv.weight"


@functools.cache
def untrained():
    return sfm.models.load("kronos", weights="random")


def written(folder, **changes):
    """The folder of an adapter of untrained KRONOS, which changes one matrix."""
    base = untrained()
    generator = torch.Generator().manual_seed(0)
    tensors = {
        NAME + ".down": torch.randn(2, 384, generator=generator),
        NAME + ".up": torch.randn(1152, 2, generator=generator),
        "head.weight": torch.zeros(3, 384),
    }
    card = {
        "model": "kronos",
        "base": {
            "weights": base.weights.source,
            "weights_sha256": "",
            "parameters_sha256": adapters.base_digest(base),
        },
        "options": base.options,
        "rank": 2,
        "alpha": 8.0,
    }
    return adapters.write_adapter(folder, changes.pop("tensors", tensors), card | changes), base, tensors


def test_loading_adds_the_product_to_the_weights_it_belongs_to(tmp_path):
    folder, base, tensors = written(tmp_path / "tumour")
    for path in (folder, folder / "adapter.safetensors"):
        encoder = sfm.models.load("kronos", weights="random", adapter=path)
        old, new = base.state_dict(), encoder.state_dict()
        expected = old[NAME] + 8.0 / 2 * tensors[NAME + ".up"] @ tensors[NAME + ".down"]
        torch.testing.assert_close(new[NAME], expected, rtol=0, atol=1e-5)
        assert all(torch.equal(new[name], old[name]) for name in old if name != NAME)
        assert encoder.weights.adapter == "tumour"
        assert encoder.weights.adapter_sha256 == adapters._sha256((folder / "adapter.safetensors").read_bytes())
        assert not any(one.requires_grad for one in encoder.parameters())
        assert not encoder.training
    assert base.weights.adapter == base.weights.adapter_sha256 == ""
    again = adapters.read_adapter(folder)
    with pytest.raises(ModelError, match="holds adapter .* already"):
        adapters.merge(encoder, again)


def test_another_base_is_refused(tmp_path, kronos_file):
    folder, _, _ = written(tmp_path / "tumour")
    with pytest.raises(
        ModelError, match=r"belongs to other weights of kronos: it was trained on 'random \(untrained\)'"
    ):
        sfm.models.load("kronos", weights=kronos_file, adapter=folder)
    with pytest.raises(ModelError, match="'tumour' belongs to model 'kronos', not to 'virtues'"):
        sfm.models.load("virtues", weights="random", adapter=folder)
    with pytest.raises(
        ModelError, match="was trained with blocks='released', and model 'kronos' is loaded with blocks="
    ):
        sfm.models.load("kronos", weights="random", adapter=folder, blocks="all")
    with pytest.raises(ModelError, match="token_overlap=False"):  # told before weights are looked for
        sfm.models.load("kronos", weights="nowhere.pt", adapter=folder, token_overlap=True)


def test_an_encoder_of_another_shape_with_the_same_weights_is_refused(tmp_path):
    """No weight tells the number of heads."""
    two, four = (sfm.models.new_encoder("kronos", dim=16, depth=2, heads=heads).eval() for heads in (2, 4))
    assert adapters.base_digest(two) == adapters.base_digest(four)
    digest, name = adapters.base_digest(two), "backbone.blocks.0.0.attn.qkv.weight"
    folder, _, _ = written(
        tmp_path / "two",
        tensors={name + ".down": torch.ones(2, 16), name + ".up": torch.ones(48, 2)},
        base={"weights": "random", "weights_sha256": "", "parameters_sha256": digest, "shape": shape_of(two)},
        options=two.options,
    )
    with pytest.raises(ModelError, match="belongs to an encoder of another shape"):
        adapters.merge(four, adapters.read_adapter(folder))
    adapters.merge(two, adapters.read_adapter(folder))


def test_options_that_were_not_the_default_have_to_be_given_again(tmp_path):
    folder, _, _ = written(tmp_path / "a", options={"token_overlap": False, "blocks": "all"})
    with pytest.raises(ModelError, match="blocks='all'"):
        sfm.models.load("kronos", weights="random", adapter=folder)
    assert sfm.models.load("kronos", weights="random", adapter=folder, blocks="all").weights.adapter == "a"


def test_damaged_and_foreign_files_are_refused(tmp_path):
    def load(path):
        return sfm.models.load("kronos", weights="random", adapter=path)

    with pytest.raises(WeightsError, match="there is no adapter.safetensors"):
        load(tmp_path)
    folder, _, tensors = written(tmp_path / "a")
    (folder / "card.json").rename(folder / "other.json")
    with pytest.raises(WeightsError, match=r"there is no card.json"):
        load(folder)
    (folder / "card.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match="damaged or not an adapter"):
        load(folder)
    card = json.loads((folder / "other.json").read_text(encoding="utf-8"))
    for change, message in [
        ({"format": "another"}, "is of format 'another'"),
        ({"base": None}, "damaged"),
        ({"file_sha256": "0"}, "is not the card of"),
    ]:
        (folder / "card.json").write_text(json.dumps(card | change), encoding="utf-8")
        with pytest.raises(WeightsError, match=message):
            load(folder)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    whole = (folder / "adapter.safetensors").read_bytes()
    (folder / "adapter.safetensors").write_bytes(whole[:-5])
    with pytest.raises(WeightsError, match="damaged"):
        load(folder)
    for name, changed, message in [
        ("b", {"nowhere.weight.down": torch.zeros(2, 3), "nowhere.weight.up": torch.zeros(3, 2)}, "'nowhere.weight'"),
        ("c", {NAME + ".down": torch.zeros(2, 3), NAME + ".up": tensors[NAME + ".up"]}, r"\(1152, 3\)"),
        ("d", {NAME + ".down": tensors[NAME + ".down"]}, "does not have"),
    ]:
        folder, _, _ = written(tmp_path / name, tensors=changed)
        with pytest.raises(WeightsError, match=message):
            load(folder)


def test_a_wrong_matrix_leaves_all_others_as_they_are(tmp_path):
    _, base, tensors = written(tmp_path / "a")
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    wrong = tensors | {"nowhere.weight.down": torch.zeros(2, 3), "nowhere.weight.up": torch.zeros(3, 2)}
    with pytest.raises(WeightsError, match="nowhere"):
        adapters.add(base, wrong, 1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())


def test_the_identity_of_weights_is_that_of_their_numbers():
    base = sfm.models.load("kronos", weights="random")
    assert adapters.base_digest(base) == adapters.base_digest(sfm.models.load("kronos", weights="random"))
    with torch.no_grad():
        base.backbone.norm.bias[0] += 1e-6
    assert adapters.base_digest(base) != adapters.base_digest(sfm.models.load("kronos", weights="random"))


def test_runs_with_and_without_are_kept_apart(tmp_path):
    """By key, by record, and in what is kept of a run: neither is taken for the other."""
    folder, _, _ = written(tmp_path / "my tumour")
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    sfm.pp.cell_table(sdata)
    sfm.settings.result_memory = 0  # kept on disk, where the same call would be found again
    call = {"weights": "random", "markers": ["CD3", "CD20"], "outputs": "patch"}
    sfm.tl.embed_cells(sdata, "kronos", **call)
    sfm.tl.embed_cells(sdata, "kronos", adapter=folder, **call)
    table = sdata["table"]
    plain, adapted = (np.asarray(table.obsm[key]) for key in ("X_kronos", "X_kronos_my_tumour"))
    again = sfm.tl.embed_cells(sdata, "kronos", copy=True, key_added="again", **call)
    np.testing.assert_array_equal(np.asarray(again.obsm["again"]), plain)
    loaded = sfm.models.load("kronos", weights="random", adapter=folder)
    plan = sfm.tl.plan_embedding(sdata, loaded, markers=["CD3", "CD20"], outputs="patch")
    assert list(plan.columns) == ["X_kronos_my_tumour"]
    same = sfm.tl.embed_cells(sdata, plan=plan, copy=True)
    np.testing.assert_array_equal(np.asarray(same.obsm["X_kronos_my_tumour"]), adapted)
    assert np.abs(plain - adapted).max() > 1e-3
    records = [sfm.get.record(table, key) for key in ("X_kronos", "X_kronos_my_tumour")]
    assert [one["adapter"] for one in records] == ["", "my tumour"]
    assert records[0]["adapter_sha256"] == ""
    assert records[1]["adapter_sha256"] == loaded.weights.adapter_sha256
    other = table.copy()
    other.obsm["X_kronos"], other.uns["spatialfm"]["X_kronos"] = adapted, records[1]
    with pytest.raises(TableError, match="adapter_sha256 is '' in the source"):
        shared_columns(table, other, "X_kronos")
    with pytest.raises(TableError, match="adapter= belongs to sfm.models.load"):
        sfm.tl.embed_cells(sdata, loaded, adapter=folder)


def test_tiles_take_an_adapter(tmp_path):
    folder, _, _ = written(tmp_path / "a")
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    call = {"weights": "random", "markers": ["CD3"], "outputs": "patch", "size": 32, "copy": True}
    plain = sfm.tl.embed_tiles(sdata, "kronos", **call)
    adapted = sfm.tl.embed_tiles(sdata, "kronos", adapter=folder, **call)
    assert sfm.get.record(adapted, "X_kronos_a")["adapter"] == "a"
    assert np.abs(plain.obsm["X_kronos"] - adapted.obsm["X_kronos_a"]).max() > 1e-3


def test_numbers_of_numpy_are_written_as_numbers():
    value = {"rank": np.int64(3), "mean": np.array([0.5, 1.0]), "path": Path("a"), "names": np.array(["P1", "P2"])}
    assert adapters.as_json(value) == {"rank": 3, "mean": [0.5, 1.0], "path": "a", "names": ["P1", "P2"]}
    long = np.arange(2000)  # whose text leaves out its middle
    assert adapters.as_json(long) == list(range(2000))
