"""A student that learns from a teacher: what it writes, that it becomes like it, and what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from overfit import steps_on

import spatialfm as sfm
from spatialfm._errors import ClinicalError, ModelError, RunError
from spatialfm.train import distil
from spatialfm.train.cell_objective import Rates
from spatialfm.train.cells import CellWindows
from spatialfm.train.likeness import Likeness

from .tiny import batch_of, encoder_of

CALL = {
    "markers": ["CD3", "CD20"],
    "recipe": {"window": 32},
    "shape": {"dim": 24, "depth": 2, "heads": 2, "hidden": 32, "decoder_depth": 1},
    "steps": 80,
    "batch_size": 16,
    "check_every": 40,
    "learning_rate": 1e-2,
    "workers": 0,
}


@pytest.fixture(scope="module")
def sdata():
    made = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    sfm.pp.cell_table(made)
    table = made["table"]
    table.obs["kind"] = np.where(table[:, "CD3"].X.ravel() > np.median(table[:, "CD3"].X), "high", "low")
    return made


def test_the_student_becomes_like_its_teacher_and_says_how_fast_both_are(sdata, tmp_path, monkeypatch):
    out = tmp_path / "small"
    teacher = encoder_of("dinov2")
    call = {**CALL, "teacher_recipe": {"window": 28}, "label_key": "kind", "steps": 160}
    student = sfm.train.distil_encoder(sdata, teacher, "virtues", out=out, **call)
    report = pd.read_csv(out / "report.csv", index_col="encoder")
    assert report.index.tolist() == ["teacher: dinov2-s", "student: virtues"]
    assert report["parameters"].tolist() == [sum(p.numel() for p in one.parameters()) for one in (teacher, student)]
    assert report["columns"].tolist() == [48, 24]
    assert (report["cells_per_second"] > 0).all()
    assert report["probe_linear"].between(0, 1).all()
    checks = pd.read_csv(out / "checks.csv")
    assert checks["validation_loss"].min() < 0.95 * checks["validation_loss"].iloc[0]
    assert report["cosine_to_teacher"].iloc[1] == pytest.approx(1 - checks["validation_cosine"].min(), abs=0.05)
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert card["license"] == "Apache-2.0"
    assert student.card.trained_on.startswith("embeddings by dinov2-s of ")
    again = sfm.models.load("virtues", weights=out)
    assert again.weights == student.weights
    monkeypatch.setattr(distil, "train_stopped", None)  # done already
    assert sfm.train.distil_encoder(sdata, teacher, "virtues", out=out, **call).weights == student.weights
    with pytest.raises(RunError, match="relational was 1.0, and is 0.5"):
        sfm.train.distil_encoder(sdata, teacher, "virtues", out=out, relational=0.5, **call)


@pytest.mark.parametrize("family", ["kronos", "dinov2", "openphenom", "virtues"])
def test_a_student_learns_a_batch_by_heart(sdata, family):
    """Vectors that no rule gives, for the same eight cells again and again."""
    student = encoder_of(family).train().requires_grad_(True)
    recipe = {"window": 32} if family == "virtues" else None
    arguments = {"markers": CALL["markers"], "samples": None, "panel": None, "table_name": "table"}
    plan = distil._plan(sdata, student, recipe, arguments)
    windows = CellWindows(plan, plan.cells.rows[:8], np.full(8, "P001"))
    views = batch_of(windows, 8)
    width = windows.encoding()(student, views).shape[1]
    wanted = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    losses = steps_on(Likeness(student, windows.encoding(), wanted, width, Rates(1e-3, 1e-2), 1.0), views, 80, lr=5e-3)
    assert max(losses[-5:]) < 0.05 * losses[0]


def test_what_would_not_work_is_refused(sdata, tmp_path):
    with pytest.raises(ModelError, match="weights of kronos are under CC-BY-NC-ND-4.0, which forbids .* distilled"):
        sfm.train.distil_encoder(sdata, "kronos", "virtues", out=tmp_path / "a", weights="no such file")
    with pytest.raises(ModelError, match="mean-intensity has no weights that could learn"):
        sfm.train.distil_encoder(sdata, "classical", sfm.models.load("mean-intensity"), out=tmp_path / "a")
    with pytest.raises(ModelError, match="shape= is for a student by name"):
        sfm.train.distil_encoder(sdata, "classical", encoder_of("virtues"), out=tmp_path / "a", shape={"dim": 8})
    assert not (tmp_path / "a").exists()


def test_one_of_several_processes_is_refused(sdata, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="Distillation trains in one process"):
        sfm.train.distil_encoder(sdata, "classical", "virtues", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_patient_in_two_spellings_is_not_on_both_sides():
    rows = np.arange(4)
    cells, table = SimpleNamespace(rows=rows), SimpleNamespace(obs=pd.DataFrame({"patient": ["P1", "p1", "P2", "P2"]}))
    plan = SimpleNamespace(cells=cells, table=table)
    with pytest.raises(ClinicalError, match="spells 1 patient in several ways"):
        distil._cohort([plan, plan], "patient", 0.5, 1, 0)
    table.obs["patient"] = "P1"
    with pytest.raises(ClinicalError, match=r"Cells are of 1 patient by obs\['patient'\]"):
        distil._cohort([plan, plan], "patient", 0.5, 1, 0)
