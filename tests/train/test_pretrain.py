"""`pretrain`: what it leaves, that it goes on with the same bits, and what it refuses before the first step."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_training import register_mean_of_pixels

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, ModelError, PanelError, RunError, TableError

SHAPES = {
    "virtues": {"dim": 16, "depth": 2, "heads": 2, "decoder_depth": 1, "hidden": 16},
    "kronos": {"dim": 16, "depth": 2, "heads": 2, "grid": 2},
}
PANEL = {"markers": ["CD3", "CD8", "CD20", "CD68"]}  # whose protein embeddings come with the package
SMALL = {"size": 32, "crop": 16}


@pytest.fixture(scope="module")
def cohort():
    return sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=96, random_state=0, difficulty="easy")


def call(cohort, out, model="virtues", **changes):
    asked = {
        "shape": SHAPES[model],
        "windows": SMALL | ({"panel": PANEL} if model == "virtues" else {}),
        "objective": register_mean_of_pixels(),
        "steps": 4,
        "batch_size": 4,
        "checkpoint_every": 2,
        "check_every": 2,
    }
    return sfm.train.pretrain(cohort, model, out=out, **asked | changes)


@pytest.fixture(scope="module")
def virtues_run(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("virtues") / "run"
    return call(cohort, out, validation=0.3, license="CC0-1.0"), out


def same_weights(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_the_folder_is_loaded_as_a_published_one(virtues_run):
    encoder, out = virtues_run
    again = sfm.models.load("virtues", weights=out)
    assert same_weights(encoder, again)
    assert not encoder.training
    assert not any(one.requires_grad for one in encoder.parameters())
    start = sfm.models.new_encoder("virtues", random_state=0, **SHAPES["virtues"])
    assert not same_weights(start, encoder)
    assert encoder.card.license == "CC0-1.0"
    assert (again.card.recipe.window, again.card.recipe.stride, again.card.recipe.padding) == (16, 5, 15)


def test_the_card_says_what_it_was_made_of(virtues_run, cohort):
    _, out = virtues_run
    card = json.loads((out / "card.json").read_text())
    windows = sfm.train.Windows(cohort, "virtues", panel=PANEL, **SMALL)
    training = card["training"]
    assert card["trained_on"] == "2 images of 2 patients"
    assert training["steps"] == 4
    assert training["windows"] == len(windows.split(0.3)[0]) == training["data"][0]["windows"]
    assert len(training["data"][0]["samples"]) == 2
    assert max(training["windows_drawn_by_marker"].values()) <= 16
    assert training["parameters"]["batch_size"] == 4
    assert training["versions"]["torch"] == torch.__version__
    assert training["fingerprint"] == windows.split(0.3)[0].fingerprint()


def test_tables_and_curves_are_there(virtues_run):
    _, out = virtues_run
    assert pd.read_csv(out / "losses.csv")["step"].tolist() == [1, 2, 3, 4]
    checks = pd.read_csv(out / "checks.csv")
    assert checks["step"].tolist() == [0, 2, 4]
    assert {"effective_rank", "spread", "validation_mean"} <= set(checks)
    assert (out / "curves.png").stat().st_size > 1000


def test_the_validation_is_the_loss_of_the_windows_held_out(virtues_run, cohort):
    """Without a change of the weights, of the encoder that the run began with: by hand, window by window."""
    _, out = virtues_run
    start = sfm.models.new_encoder("virtues", random_state=0, **SHAPES["virtues"]).eval()
    from tiny_training import MeanOfPixels

    from spatialfm.train.batch import random_of

    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = MeanOfPixels(start)
    windows = sfm.train.Windows(cohort, "virtues", panel=PANEL, **SMALL)
    held_out = windows.split(0.3)[1]
    losses = []
    with torch.no_grad():
        for index in range(len(held_out)):
            sample = held_out.sample(index, random_of(0, 0, index, 1), augment=False)
            losses.append(float(objective([sample])["mean"].total))
    assert pd.read_csv(out / "checks.csv")["validation_mean"][0] == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_same_call_again_gives_the_same_and_trains_nothing(virtues_run, cohort):
    encoder, out = virtues_run
    before = (out / "losses.csv").read_text()
    assert same_weights(encoder, call(cohort, out, validation=0.3, license="CC0-1.0"))
    assert (out / "losses.csv").read_text() == before


def test_an_interrupted_run_ends_with_the_same_bits(cohort, tmp_path, virtues_run, monkeypatch):
    from spatialfm.train.trainer import Trainer

    real = Trainer.step

    def killed(self, step, made, votes=()):
        if step == 3:
            raise MemoryError("killed")
        return real(self, step, made, votes)

    monkeypatch.setattr(Trainer, "step", killed)
    with pytest.raises(MemoryError):
        call(cohort, tmp_path / "run", validation=0.3)
    monkeypatch.undo()
    assert same_weights(call(cohort, tmp_path / "run", validation=0.3), virtues_run[0])


def test_other_parameters_and_other_data_are_refused(virtues_run, cohort):
    _, out = virtues_run
    with pytest.raises(RunError, match=r"options\['learning_rate'\] was None, and is 0.5; batch_size was 4, and is 5"):
        call(cohort, out, validation=0.3, batch_size=5, options={"learning_rate": 0.5})
    with pytest.raises(RunError, match=r"other data.*what differs of the data is .*windows, "):
        call(cohort, out, validation=0.3, windows={"panel": PANEL, "size": 16, "crop": 16})
    with pytest.raises(RunError, match="resume=False"):
        call(cohort, out, validation=0.3, resume=False)


def test_kronos_keeps_ids_and_statistics_of_its_markers(cohort, tmp_path):
    encoder = call(cohort, tmp_path / "run", "kronos", steps=2)
    table = pd.read_csv(tmp_path / "run" / "marker_metadata.csv").set_index("marker_name")
    windows = sfm.train.Windows(cohort, sfm.models.new_encoder("kronos", **SHAPES["kronos"]), **SMALL)
    expected = windows.markers
    assert set(table.index) == set(expected.index)
    assert table["marker_id"].to_dict() == expected["id"].to_dict()
    np.testing.assert_allclose(table["marker_mean"].loc[expected.index], expected["mean"].astype(float), rtol=1e-6)
    np.testing.assert_allclose(table["marker_std"].loc[expected.index], expected["std"].astype(float), rtol=1e-6)
    assert {entry.name: entry.id for entry in encoder.vocabulary} == table["marker_id"].to_dict()
    assert encoder.options["blocks"] == "all"


def test_statistics_of_the_folder_belong_to_pixels_of_the_training(cohort, tmp_path, recwarn):
    """Trained on pixels over 4,000: cells are embedded so without a word, and otherwise with one."""
    windows = SMALL | {"recipe": {"intensity_max": 4000.0}}
    encoder = call(cohort, tmp_path / "run", "kronos", steps=1, windows=windows)
    sfm.pp.cell_table(cohort) if "table" not in cohort.tables else None
    one = [next(iter(cohort.images)).removeprefix("image_")]

    def embedded(encoder, **recipe):
        recwarn.clear()
        adata = sfm.tl.embed_cells(cohort, encoder, recipe=recipe, samples=one, copy=True, key_added="X")
        return adata.obsm["X"], [str(one.message) for one in recwarn if "was trained with" in str(one.message)]

    as_trained, said = embedded(sfm.models.load("kronos", weights=tmp_path / "run"))
    assert not said
    np.testing.assert_array_equal(as_trained, embedded(encoder, intensity_max=4000.0)[0])
    other, said = embedded(encoder, intensity_max=65_535.0)
    assert len(said) == 1
    assert "with intensity_max 4000.0, and is used with 65535.0: pass recipe={'intensity_max': 4000.0}" in said[0]
    assert np.abs(other - as_trained).max() > 0.01 * np.abs(as_trained).max()
    each = SMALL | {"recipe": {"intensity_max": {name.removeprefix("image_"): 4000.0 for name in cohort.images}}}
    encoder = call(cohort, tmp_path / "each", "kronos", steps=1, windows=each)
    _, said = embedded(encoder)
    assert "with intensity_max a value for each sample, and is used with None" in said[0]


def test_the_probe_reads_cells_as_the_windows_are_read(cohort, tmp_path, monkeypatch):
    from spatialfm.train import cell_probe

    read = []
    monkeypatch.setattr(cell_probe, "embedded", lambda encoder, cells, reading=None: read.append(reading))
    monkeypatch.setattr(cell_probe, "probed", lambda values, cells: {})
    sfm.pp.cell_table(cohort) if "table" not in cohort.tables else None
    cohort["table"].obs["kind"] = ["a", "b"] * (cohort["table"].n_obs // 2) + ["a"] * (cohort["table"].n_obs % 2)
    cohort["table"].obs["patient"] = cohort["table"].obs["sample"].astype(str).to_numpy()
    windows = SMALL | {"recipe": {"intensity_max": 4000.0}}
    call(cohort, tmp_path / "run", "kronos", steps=1, windows=windows, probe=cohort, label_key="kind")
    assert [one.recipe["intensity_max"] for one in read if one is not None] == [4000.0, 4000.0]


def test_it_goes_on_from_weights(cohort, tmp_path, virtues_run):
    first, out = virtues_run
    second = call(cohort, tmp_path / "run", weights=out, shape=None, steps=1, options={"learning_rate": 0.0})
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value)


def test_an_encoder_that_is_passed_is_not_changed(cohort, tmp_path):
    encoder = sfm.models.new_encoder("virtues", **SHAPES["virtues"])
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    trained = sfm.train.pretrain(
        cohort, encoder, out=tmp_path / "run", objective=register_mean_of_pixels(), steps=1, batch_size=4,
        windows=SMALL | {"panel": PANEL},
    )  # fmt: skip
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in before.items())
    assert not same_weights(trained, encoder)


def test_minutes_hold_on_a_machine_that_becomes_busy_and_are_kept(cohort, tmp_path, monkeypatch):
    """Three steps of 2 seconds and three of 6 are 24 seconds, where twelve were expected; a killed one counts not."""
    from functools import partial

    from spatialfm.train import asked
    from spatialfm.train.pace import Pace
    from spatialfm.train.trainer import Trainer

    now, taken, real = [0.0], [], Trainer.step

    def step(self, step, made, votes=()):
        now[0] += 2.0 if step < 3 else 6.0
        taken.append(step)
        if len(taken) == 4:
            raise MemoryError("killed")
        return real(self, step, made, votes)

    monkeypatch.setattr(asked, "seconds_of_a_step", lambda *_: 2.0)
    monkeypatch.setattr(asked, "Pace", partial(Pace, clock=lambda: now[0]))
    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(MemoryError):
        call(cohort, tmp_path / "run", steps=None, minutes=0.4, checkpoint_every=1)
    monkeypatch.setattr(asked, "seconds_of_a_step", lambda *_: 0.001)  # asked once; a faster machine changes nothing
    call(cohort, tmp_path / "run", steps=None, minutes=0.4, checkpoint_every=1)
    assert taken == [0, 1, 2, 3, 3, 4, 5]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["n_steps"] == len(pd.read_csv(tmp_path / "run" / "losses.csv")) == 6
    assert json.loads((tmp_path / "run" / "card.json").read_text())["training"]["steps"] == 6
    assert record["estimates"] == [[0, 12, 0.0], [2, 12, 4.0], [4, 7, 12.0], [6, 6, 24.0]]
    call(cohort, tmp_path / "run", steps=None, minutes=0.4, checkpoint_every=1)  # has ended
    assert len(taken) == 7


@pytest.mark.slow  # five steps for one number
def test_the_speed_of_a_step_leaves_the_weights_as_they_are(cohort):
    from tiny_training import MeanOfPixels

    from spatialfm.train.asked import seconds_of_a_step
    from spatialfm.train.drawn import DrawnWindows
    from spatialfm.train.fabric import new_fabric
    from spatialfm.train.trainer import TrainingPlan

    encoder = sfm.models.new_encoder("virtues", **SHAPES["virtues"])
    windows = sfm.train.Windows(cohort, encoder, panel=PANEL, **SMALL)
    objective = MeanOfPixels(encoder)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    fabric = new_fabric(accelerator="cpu")
    seconds = seconds_of_a_step(fabric, objective, DrawnWindows(windows, 0, 4), TrainingPlan(100, 4))
    assert 0 < seconds < 60
    assert all(torch.equal(objective.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": None}, ArgumentError, "none is given"),
        ({"epochs": 2}, ArgumentError, "epochs= and steps= are given"),
        ({"batch_size": 1000}, RunError, "batch_size=1000, and there are 12 windows.*windows=.*stride"),
        ({"precision": "16-mixed"}, ArgumentError, "'16-mixed' needs a CUDA device"),
        ({"devices": 0}, ArgumentError, "devices must be a whole number of at least 1, or 'auto', got 0"),
        ({"devices": "two"}, ArgumentError, "or 'auto', got 'two'"),
        ({"strategy": "fsdp"}, ArgumentError, "CUDA devices"),
        ({"objective": "nothing"}, ArgumentError, "No objective 'nothing'"),
        ({"weights": "x"}, ArgumentError, "shape= is for random weights"),
        ({"windows": SMALL | {"panel": {"markers": ["DAPI", "CD3"]}}}, PanelError, "without protein embedding"),
        ({"windows": {"size": 512, "panel": PANEL}}, ModelError, "smaller than a window"),
        (
            {"windows": {"sise": 32}},
            ArgumentError,
            "windows= has 'sise', which is not an argument.* Did you mean 'size'",
        ),
        ({"validation": ["nobody"]}, ClinicalError, "'nobody'"),
        ({"probe": "cohort"}, TableError, "label_key="),
        ({"probe": "cohort", "label_key": "none"}, TableError, "No column 'none'"),
    ],
)
def test_what_would_not_work_is_refused_before_the_first_step(cohort, tmp_path, changes, error, message):
    if "probe" in changes:
        sfm.pp.cell_table(cohort) if "table" not in cohort.tables else None
        changes = changes | {"probe": cohort}
    with pytest.raises(error, match=message):
        call(cohort, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_one_patient_cannot_be_split(tmp_path):
    alone = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    with pytest.raises(ClinicalError, match="All windows are of one patient"):
        call(alone, tmp_path / "run", validation=0.5)


def test_a_panel_without_stain_of_nuclei_is_refused_where_the_recipe_draws_one(cohort, tmp_path):
    without = {"panel": {"markers": ["CD3", "CD8", "CD20"]}}
    with pytest.raises(PanelError, match="needs a stain of nuclei"):
        call(cohort, tmp_path / "run", "kronos", windows=SMALL | without)


def test_windows_of_another_model_are_refused(cohort, tmp_path):
    windows = sfm.train.Windows(cohort, "kronos", **SMALL)
    with pytest.raises(ArgumentError, match=r"are windows as 'kronos' takes them"):
        call(windows, tmp_path / "run", windows=None)


SMALL_HEAD = {"prototypes": 16, "hidden": 16, "bottleneck": 8, "n_local": 1}
OBJECTIVES = {
    "masked": ("virtues", {"learning_rate": 1e-2, "warmup": 0.0}),
    # KoLeo of initial weights, whose embeddings are the same but for rounding, is not a number to compare
    "distill": ("kronos", SMALL_HEAD | {"learning_rate": 1e-2, "warmup": 0.0, "drop_path": 0.0, "koleo_weight": 0.0}),
    "supervised": ("kronos", {"intensities": True, "learning_rate": 1e-2, "warmup": 0.0}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow if one != "masked" else ()) for one in OBJECTIVES]
)
def test_half_precision_gives_nearly_the_losses_of_whole(cohort, tmp_path, name):
    """bfloat16 has 8 bits: losses within some percent, and weights stay in 32."""
    model, options = OBJECTIVES[name]
    asked = {"objective": name, "options": options, "steps": 3, "check_every": 100}
    whole = call(cohort, tmp_path / "whole", model, **asked)
    half = call(cohort, tmp_path / "half", model, precision="bf16-mixed", **asked)
    losses = [pd.read_csv(tmp_path / folder / "losses.csv")["loss"].to_numpy() for folder in ("whole", "half")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.03)
    assert not np.array_equal(losses[1], losses[0])
    assert {one.dtype for one in half.parameters()} == {torch.float32} == {one.dtype for one in whole.parameters()}


SCRIPT = """
import sys
import spatialfm as sfm

if __name__ == "__main__":
    devices, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    sfm.settings.device = "cpu"
    sfm.train.pretrain(
        store, {model!r}, out=out, shape={shape}, windows={windows}, steps=6, batch_size=4, check_every=3,
        checkpoint_every=2, devices=devices, validation=0.3, objective={objective!r}, options={options},
    )
"""


@pytest.mark.slow  # three processes that import torch
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_two_processes_have_the_losses_and_scores_of_one(cohort, tmp_path, name):
    cohort.write(tmp_path / "cohort.zarr")
    script, (model, options) = tmp_path / "run.py", OBJECTIVES[name]
    windows = SMALL | ({"panel": PANEL} if model == "virtues" else {})
    told = {"model": model, "shape": SHAPES[model], "windows": windows, "objective": name, "options": options}
    script.write_text(SCRIPT.format(**told))
    for devices in (1, 2):
        done = subprocess.run(
            [sys.executable, str(script), str(devices), str(tmp_path / "cohort.zarr"), str(tmp_path / f"run{devices}")],
            capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, two = (pd.read_csv(tmp_path / f"run{n}" / "losses.csv") for n in (1, 2))
    assert one["loss"].nunique() == 6
    np.testing.assert_allclose(two["loss"], one["loss"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(two["gradient_norm"], one["gradient_norm"], rtol=1e-4)
    one, two = (pd.read_csv(tmp_path / f"run{n}" / "checks.csv") for n in (1, 2))
    scores = [column for column in one if column.startswith("validation_")]
    assert scores
    # of a term of a whole batch, a last batch of one window is left out where there are two processes
    np.testing.assert_allclose(two[scores], one[scores], atol=0.5 if name == "distill" else 1e-5, rtol=0)
    drawn = [json.loads((tmp_path / f"run{n}" / "card.json").read_text())["training"] for n in (1, 2)]
    assert drawn[0]["windows_drawn_by_marker"] == drawn[1]["windows_drawn_by_marker"]
