"""Fine-tuning as users call it: what it learns, what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from overfit import steps_on

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError, RunError, SpatialfmWarning, TableError
from spatialfm.models.adapter import base_digest
from spatialfm.train import loop, tuning
from spatialfm.train.tuned_cells import Sought, cells_of

from .tiny import FAMILIES, batch_of, encoder_of

MARKERS = ["CD3", "CD20", "CD68"]


@pytest.fixture(scope="module")
def sdata():
    made = sfm.datasets.simulate_cohort(n_patients=4, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    sfm.pp.cell_table(made)
    table = made["table"]
    high = table[:, "CD3"].X.ravel() > np.median(table[:, "CD3"].X)
    table.obs["kind"] = np.where(high, "high", "low")
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a small VirTues, as pretraining leaves it."""
    encoder = sfm.models.new_encoder("virtues", dim=24, depth=2, heads=2, hidden=32, decoder_depth=1)
    folder = tmp_path_factory.mktemp("base")
    sfm.models.save_trained(encoder, folder, {"license": "CC-BY-4.0"})
    return folder


@pytest.fixture(scope="module")
def run(sdata, base, tmp_path_factory):
    """A finished run: its folder, and the encoder that the call gave."""
    sfm.settings.cache_dir = tmp_path_factory.mktemp("cache")
    out = tmp_path_factory.mktemp("run") / "kinds"
    return out, sfm.train.finetune(sdata, "virtues", weights=base, out=out, **CALL)


CALL = {
    "label_key": "kind",
    "markers": MARKERS,
    "recipe": {"window": 32},
    "steps": 6,
    "batch_size": 8,
    "check_every": 2,
    "workers": 0,
}


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_result_is_what_load_and_embed_cells_make_of_the_folder(sdata, base, run):
    out, encoder = run
    loaded = sfm.models.load("virtues", weights=base, adapter=out)
    assert encoder.weights == loaded.weights
    assert loaded.weights.adapter == "kinds"
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    assert not encoder.training
    assert not any(one.requires_grad for one in encoder.parameters())
    plain = sfm.models.load("virtues", weights=base)
    changed = [name for name, one in plain.named_parameters() if not torch.equal(one, loaded.get_parameter(name))]
    assert changed
    assert all("encoder_layer" in name and name.startswith("backbone.encoder.") for name in changed)
    asked = {"markers": MARKERS, "recipe": {"window": 32}, "copy": True}
    rows = [
        sfm.tl.embed_cells(sdata, "virtues", weights=base, adapter=out, **asked).obsm["X_virtues_kinds"],
        sfm.tl.embed_cells(sdata, encoder, key_added="X", **asked).obsm["X"],
        sfm.tl.embed_cells(sdata, plain, **asked).obsm["X_virtues"],
    ]
    np.testing.assert_allclose(rows[0], rows[1], rtol=0, atol=1e-5)
    assert np.abs(rows[0] - rows[2]).max() > 1e-4
    assert "kind" in sdata["table"].obs
    assert not sdata["table"].obsm.keys() - {"spatial"}
    with pytest.warns(SpatialfmWarning, match="Adapter 'kinds' was trained with window 32, and is used with 48"):
        sfm.tl.embed_cells(sdata, loaded, markers=MARKERS, recipe={"window": 48}, copy=True)


def test_the_card_says_what_it_is_and_names_no_patient(sdata, base, run):
    out, _ = run
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    plain = sfm.models.load("virtues", weights=base)
    assert card["base"]["parameters_sha256"] == base_digest(plain)
    assert card["base"]["weights_sha256"] == plain.weights.sha256
    assert card["license"] == "CC-BY-4.0"
    assert (card["rank"], card["output"], card["markers"]) == (8, "patch", MARKERS)
    assert card["cells"]["classes"] == ["high", "low"]
    assert (card["cells"]["training_patients"], card["cells"]["held_out_patients"]) == (3, 1)
    assert not any(name in json.dumps(card) for name in sdata["table"].obs["patient"].unique())
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        *("adapter.safetensors", "card.json", "checks.csv", "curves.png", "losses.csv", "run.json")
    ]
    checks = rows_of(out / "checks.csv")
    assert [row["step"] for row in checks] == ["0", "2", "4", "6"]
    best = min(checks, key=lambda row: float(row["validation_loss"]))
    assert int(best["step"]) == card["best_step"]
    assert float(best["validation_loss"]) == pytest.approx(card["validation_loss"], rel=1e-6)
    assert float(checks[0]["validation_loss"]) == pytest.approx(np.log(2), rel=1e-6)  # the layer begins at zero


@pytest.fixture(scope="module")
def few(sdata):
    """Eight cells of one patient and eight of another, with labels and numbers that no rule gives."""
    table = sdata["table"]
    few = table[np.concatenate([np.flatnonzero(table.obs["patient"] == name)[:8] for name in ("P001", "P002")])].copy()
    few.obs["kind"] = [("a", "b")[i % 2] for i in range(few.n_obs)]
    few.obs["score"] = np.random.default_rng(0).normal(size=few.n_obs)
    return few


def by_heart(sdata, few, family: str, n_steps: int, sought=("kind", None), rate: float = 1e-2, **how) -> list[float]:
    """Losses of steps on one batch of eight cells, each in the middle of its window and never turned."""
    how |= {"recipe": {"window": 32}} if family == "virtues" else {}
    recipe = tuning.FineTuning(
        sdata, encoder_of(family), accept_terms=True, batch_size=8, markers=MARKERS, augment=False, workers=0, **how
    )
    encoder = tuning._prepared(recipe, recipe.start())
    asked = Sought(*sought, "patient")
    cells = cells_of(recipe.plan(encoder), asked, few, ["P002"], 8, 0, recipe.augmentation(), tissue=False)
    learner = tuning._learner(recipe, encoder, cells)
    return steps_on(learner, batch_of(cells.training, 8), n_steps, lr=rate)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("method", "n_steps", "rate"), [("lora", 100, 1e-2), ("full", 50, 1e-2), ("linear", 100, 0.1)])
def test_a_batch_is_learned_by_heart(sdata, few, family, method, n_steps, rate):
    losses = by_heart(sdata, few, family, n_steps, rate=rate, method=method)
    assert losses[0] == pytest.approx(np.log(2), rel=1e-5)
    assert max(losses[-5:]) < 0.05 * losses[0]


@pytest.mark.parametrize("family", ["kronos", "virtues"])
def test_a_batch_is_learned_by_heart_by_units_whose_answers_add_up(sdata, few, family):
    losses = by_heart(sdata, few, family, 100, rate=3e-3, method="bcos", head="bcos")
    assert max(losses[-5:]) < 0.05 * losses[0]


@pytest.mark.parametrize("family", ["kronos", "virtues"])
def test_numbers_of_a_batch_are_learned_by_heart(sdata, few, family):
    losses = by_heart(sdata, few, family, 100, (None, ["score"]), rate=3e-3, method="full")
    assert max(losses[-5:]) < 0.05 * losses[0]


def test_a_run_that_was_ended_goes_on_to_the_same_bits(sdata, base, run, tmp_path, monkeypatch):
    folder, whole = run
    step, seen = loop._Running._step, []

    def killed(self, number, *args):
        seen.append(number)
        if number == 5 and len(seen) < 7:
            raise KeyboardInterrupt
        return step(self, number, *args)

    monkeypatch.setattr(loop._Running, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        sfm.train.finetune(sdata, "virtues", weights=base, out=tmp_path / "b" / "kinds", **CALL)
    assert not (tmp_path / "b" / "kinds" / "card.json").exists()
    again = sfm.train.finetune(sdata, "virtues", weights=base, out=tmp_path / "b" / "kinds", **CALL)
    assert seen == [0, 1, 2, 3, 4, 5, 4, 5]
    assert again.weights == whole.weights
    assert rows_of(folder / "checks.csv") == rows_of(tmp_path / "b" / "kinds" / "checks.csv")


def test_a_call_that_is_done_is_not_done_again_and_another_is_refused(sdata, base, run, tmp_path, monkeypatch):
    out, first = run
    monkeypatch.setattr(tuning, "train_stopped", None)
    assert sfm.train.finetune(sdata, "virtues", weights=base, out=out, **CALL).weights == first.weights
    with pytest.raises(RunError, match=r"a run of other parameters, of .*: rank was 8, and is 4\. Pass"):
        sfm.train.finetune(sdata, "virtues", weights=base, out=out, rank=4, **CALL)
    others = sdata["table"].copy()
    others.obs["kind"] = others.obs["kind"].to_numpy()[::-1]
    with pytest.raises(RunError, match="other data"):
        sfm.train.finetune(sdata, "virtues", weights=base, out=out, adata=others, **CALL)
    with pytest.raises(RunError, match="resume=False would begin anew"):
        sfm.train.finetune(sdata, "virtues", weights=base, out=out, resume=False, **CALL)
    with pytest.raises(ModelError, match="holds adapter 'kinds' already"):
        sfm.train.finetune(sdata, first, out=tmp_path / "more", **CALL)


def test_all_weights_are_saved_as_an_encoder(sdata, base, tmp_path):
    encoder = sfm.train.finetune(sdata, "virtues", weights=base, out=tmp_path / "all", method="full", **CALL)
    again = sfm.models.load("virtues", weights=tmp_path / "all")
    assert again.weights == encoder.weights
    assert encoder.card.license == "CC-BY-4.0"
    assert "then labels of" in encoder.card.trained_on
    plain = sfm.models.load("virtues", weights=base)
    assert not torch.equal(again.backbone.encoder.patch_encoder.weight, plain.backbone.encoder.patch_encoder.weight)


def test_an_encoder_that_was_tuned_on_crops_goes_on_to_read_crops(sdata, base, tmp_path):
    """Read from tiles, or from crops of another size, its cells would be other ones than those it was trained on."""
    recipe = {"mode": "crop", "window": 24, "background": "zero"}
    call = {**CALL, "recipe": recipe, "steps": 2}
    encoder = sfm.train.finetune(sdata, "virtues", weights=base, out=tmp_path / "all", method="full", **call)
    kept = encoder.card.recipe
    assert (kept.mode, kept.window, kept.background, kept.stride) == ("crop", 24, "zero", None)
    sfm.tl.embed_cells(sdata, encoder, key_added="X_default", panel={"markers": MARKERS})
    sfm.tl.embed_cells(sdata, encoder, key_added="X_said", panel={"markers": MARKERS}, recipe=recipe)
    table = sdata["table"]
    np.testing.assert_array_equal(table.obsm["X_default"], table.obsm["X_said"])


@pytest.mark.slow
def test_numbers_can_be_learned(sdata, tmp_path):
    call = {**CALL, "label_key": None, "targets": ["CD3"], "steps": 60, "check_every": 60, "recipe": None}
    sfm.train.finetune(
        sdata,
        encoder_of("kronos"),
        out=tmp_path / "cd3",
        accept_terms=True,
        learning_rate=3e-3,
        weight_decay=0.0,
        **call,
    )
    losses = [float(row["loss"]) for row in rows_of(tmp_path / "cd3" / "losses.csv")]
    assert np.mean(losses[-8:]) < 0.5 * np.mean(losses[:4])
    card = json.loads((tmp_path / "cd3" / "card.json").read_text(encoding="utf-8"))
    assert (card["cells"]["targets"], card["cells"]["classes"]) == (["CD3"], [])


def test_it_stops_when_held_out_patients_are_not_read_better(sdata, tmp_path):
    noise = sdata["table"].copy()
    noise.obs["kind"] = np.random.default_rng(0).choice(["a", "b"], noise.n_obs)
    call = {**CALL, "steps": 200, "check_every": 10, "recipe": None}
    sfm.train.finetune(
        sdata,
        encoder_of("kronos"),
        adata=noise,
        out=tmp_path / "out",
        accept_terms=True,
        patience=2,
        learning_rate=1e-2,
        **call,
    )
    checks = rows_of(tmp_path / "out" / "checks.csv")
    assert len(checks) < 15
    best = min(range(len(checks)), key=lambda i: float(checks[i]["validation_loss"]))
    assert best == len(checks) - 3


def test_nothing_is_done_where_it_would_not_work(sdata, tmp_path):
    def call(model, **changes):
        sfm.train.finetune(sdata, model, **{"out": tmp_path / "out", "label_key": "kind", **changes})

    with pytest.raises(
        ModelError, match=r"weights of kronos are under CC-BY-NC-ND-4.0, which forbids .* accept_terms="
    ):
        call("kronos", weights="no such file")
    with pytest.raises(ModelError, match="No weights file 'no such file'"):
        call("kronos", weights="no such file", accept_terms=True)
    with pytest.raises(ModelError, match="classical has no weights that could learn"):
        call("classical")
    with pytest.raises(ModelError, match="has no transformer blocks"):
        call("resnet50", weights="random", markers=MARKERS)
    with pytest.raises(TableError, match="No column 'type' in obs"):
        call(encoder_of("dinov2"), label_key="type", recipe={"window": 14})
    with pytest.raises(ArgumentError, match="outputs must be a string or None"):
        call("virtues", outputs=["patch", "marker"])
    with pytest.raises(ArgumentError, match=r"FineTuning\(rank=0\): rank must be a whole number of at least 1"):
        sfm.train.FineTuning(sdata, rank=0)

    class Silent(type(encoder_of("dinov2"))):
        def forward(self, *args, **kwargs):
            with torch.no_grad():
                return super().forward(*args, **kwargs)

    silent = encoder_of("dinov2")
    silent.__class__ = Silent
    with pytest.raises(ModelError, match="No gradient reaches what would be trained of dinov2-s"):
        call(silent, recipe={"window": 14})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_one_of_several_processes_is_refused(sdata, base, tmp_path, monkeypatch, name):
    """All of them would train into one folder."""
    monkeypatch.setenv(name, "2")
    with pytest.raises(RunError, match=rf"Fine-tuning trains in one process, and this is one of 2 \({name}\)"):
        sfm.train.finetune(sdata, "virtues", weights=base, out=tmp_path / "run", **CALL)
    assert not (tmp_path / "run").exists()


def test_it_is_judged_on_patients_whose_labels_it_has_not_seen(sdata, base):
    recipe = {"window": 32}
    tuned = sfm.train.FineTuning(
        sdata, "virtues", weights=base, markers=MARKERS, recipe=recipe, steps=2, batch_size=4, check_every=2, workers=0
    )
    adata = sfm.tl.embed_cells(sdata, "virtues", weights=base, markers=MARKERS, recipe=recipe, copy=True)
    rep = {"as it is": "X_virtues", "fine-tuned": tuned}
    scores = sfm.tl.evaluate_annotation(adata, "kind", use_rep=rep, n_folds=2, C=1.0, min_cells=2)
    assert set(scores["use_rep"]) >= set(rep)
    assert adata.uns["annotation"]["differences"].query("first == 'as it is'")["second"].tolist().count("fine-tuned")
    folders = list((sfm.settings.cache_dir / "fine-tuned").iterdir())
    assert len(folders) == 2
    for folder in folders:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        assert card["cells"]["training_patients"] + card["cells"]["held_out_patients"] == 2


def test_recipes_that_are_compared_are_trained_apart(sdata, base, monkeypatch):
    """Cells, labels and weights are alike; before, the second was refused as another run in the folder of the first."""

    class Begun(Exception):
        pass

    def begun(path):
        places.append(path.name)
        raise Begun

    places: list[str] = []
    monkeypatch.setattr(tuning, "RunFolder", begun)
    cells = sdata["table"].copy()
    how = {"weights": base, "markers": MARKERS, "workers": 0}
    for changes in ({}, {}, {"recipe": {"window": 16}}, {"augment": False}):
        with pytest.raises(Begun):
            sfm.train.FineTuning(sdata, "virtues", **how | {"recipe": {"window": 32}} | changes).fit(
                cells, "kind", "patient"
            )
    assert places[0] == places[1]
    assert len(set(places)) == 3
