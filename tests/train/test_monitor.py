"""What is said of a run: tables that survive a kill, collapse, markers without signal."""

from __future__ import annotations

import errno
import os
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_training import CARD, TinyObjective, TinyWindows, run_tiny

from spatialfm._errors import RunError, SpatialfmWarning
from spatialfm.models import Encoder, EncoderOutput, Weights
from spatialfm.train.batch import WindowSample
from spatialfm.train.monitor import Collapse, Monitor, RowsFile, embeddings_of, spread_of


@pytest.mark.parametrize(("n", "d"), [(40, 5), (6, 20)])
def test_effective_rank_of_known_singular_values(n, d):
    """Of k equal singular values, k; of values s, the exponential of the entropy of s over its sum."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(np.c_[np.ones(n), rng.standard_normal((n, 3))])[0][:, 1:]  # centred and orthogonal
    right = np.linalg.qr(rng.standard_normal((d, 3)))[0]
    for values in ([2.0, 2.0, 2.0], [5.0, 1.0, 0.1], [1.0, 1e-9, 1e-9]):
        p = np.array(values) / sum(values)
        rank, _ = spread_of(left @ np.diag(values) @ right.T + 3)
        assert rank == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)


def test_spread_of_isotropic_vectors_is_near_one_and_of_one_direction_zero():
    rng = np.random.default_rng(0)
    assert spread_of(rng.standard_normal((500, 64)))[1] == pytest.approx(1, abs=0.01)
    assert spread_of(np.outer(rng.uniform(1, 2, 50), rng.standard_normal(8)))[1] == pytest.approx(0, abs=1e-12)
    assert np.isnan(spread_of(np.full((3, 2), np.nan))).all()


def test_rows_go_on_after_a_kill(tmp_path):
    table = RowsFile(tmp_path / "losses.csv")
    for step in range(1, 6):
        table.add({"step": step, "loss": 1 / step, "seconds": step * 2.5})
    with table.path.open("a") as file:
        file.write("6,0.1")  # the process was killed while it wrote
    again = RowsFile(table.path)
    again.keep(3)
    assert again.last("seconds") == 7.5
    again.add({"step": 4, "loss": 0.5, "seconds": 9, "extra": 7})
    found = pd.read_csv(table.path)
    assert found["step"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(found["loss"], [1, 1 / 2, 1 / 3, 0.5], rtol=1e-8)
    assert found["extra"].isna().tolist() == [True, True, True, False]


def test_a_run_leaves_its_tables_and_curves(tmp_path, own_curves):
    monitor = Monitor(tmp_path, checks=[lambda step: {"spread": 1.0, "effective_rank": 2.0 + step}])
    run_tiny(tmp_path, heard=monitor, n_steps=10)
    losses, checks = pd.read_csv(tmp_path / "losses.csv"), pd.read_csv(tmp_path / "checks.csv")
    assert losses["step"].tolist() == list(range(1, 11))
    assert {"loss", "loss_known", "lr", "gradient_norm", "windows_per_second", "seconds"} <= set(losses)
    assert (losses["seconds"].diff().dropna() > 0).all()
    assert checks["effective_rank"].tolist() == [2, 7, 12]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    before = losses, checks
    run_tiny(tmp_path, heard=Monitor(tmp_path), n_steps=10)  # finished: nothing is written anew
    for name, table in zip(("losses.csv", "checks.csv"), before, strict=True):
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / name), table)


@pytest.mark.parametrize(
    ("step", "file", "said"),
    [
        (8, "losses.csv", "The checkpoint after step 6 is kept"),
        (7, "checks.csv", "The checkpoint after step 6 is kept"),
        (0, "curves.png", "No checkpoint was written before"),
    ],
)
def test_a_full_disk_is_named_and_the_run_goes_on(tmp_path, monkeypatch, step, file, said):
    """Room for steps until one; then the disk is full, and afterwards it is not."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, row, at_place=RowsFile.add):
        if row["step"] == step and self.path.name == file:
            raise full
        at_place(self, row)

    def draw(losses, checks, path):
        raise full

    checks = [lambda done: {"effective_rank": done + 2.0}]
    with monkeypatch.context() as patch:
        patch.setattr(RowsFile, "add", write)
        if file == "curves.png":
            patch.setattr("spatialfm.train.monitor.draw_curves", draw)
        with pytest.raises(RunError, match=f"could not be written: No space left on device. Make space.*{said}"):
            run_tiny(tmp_path, heard=Monitor(tmp_path, checks=checks), n_steps=10, check_every=7, checkpoint_every=3)
    run_tiny(tmp_path, heard=Monitor(tmp_path, checks=checks), n_steps=10, check_every=7, checkpoint_every=3)
    assert pd.read_csv(tmp_path / "losses.csv")["step"].tolist() == list(range(1, 11))
    assert (tmp_path / "curves.png").is_file()


def test_a_process_that_does_not_write_leaves_nothing(tmp_path):
    run_tiny(tmp_path / "run", heard=Monitor(tmp_path / "said", writes=False), n_steps=2)
    assert not (tmp_path / "said").exists()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            [(0.8, 6.0), (0.4, 4.0), (0.05, 4.0), (0.01, 3.0)],
            "After step 20, .* spread is 0.05 .0.8 at most.* stop, and",
        ),
        ([(0.8, 6.0), (0.7, 1.3)], "After step 10, .* effective rank 1.30 .6.00"),
        ([(3e-7, 9.0), (5e-5, 9.0), (0.3, 5.0), (0.02, 5.0)], "After step 30"),  # it began with little, as weights may
        ([(3e-7, 9.0), (5e-5, 9.0), (0.3, 5.0), (0.2, 5.0)], None),
        (
            [(3e-7, 9.0), (5e-6, 9.0), (4e-6, 9.0), (5e-6, 9.0)],
            "After step 30.* not come apart",
        ),  # and has never got away from it
    ],
)
def test_collapse_is_warned_of_once(tmp_path, found, said):
    def check(step):
        return dict(zip(("spread", "effective_rank"), found[step // 10], strict=True))

    monitor = Monitor(tmp_path, checks=[check], n_steps=30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialfmWarning)
        for place in range(len(found)):
            monitor.check(10 * place, {})
    assert len(caught) == int(said is not None)
    if said:
        assert re.search(said, str(caught[0].message))
    assert (tmp_path / "curves.png").exists()


def test_the_check_of_collapse_sees_an_encoder_that_gives_one_vector():
    data, objective = TinyWindows(), TinyObjective()
    windows = [data.sample(index, np.random.default_rng(index)) for index in range(8)]
    check = Collapse(lambda: objective.encoder, windows)
    before = check(0)
    assert before["effective_rank"] > 2
    assert before["spread"] > 0.3
    assert check(1) == before  # no dropout, no change of mode
    assert objective.encoder.training
    with torch.no_grad():
        objective.encoder.layer.weight.zero_()
    assert check(2) == {"effective_rank": 1.0, "spread": 0.0}


def test_a_marker_without_signal_is_named_once_there_are_enough_windows(tmp_path):
    monitor = Monitor(tmp_path, n_steps=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        monitor.check(10, {"CD3": (31, 31), "DAPI": (400, 399)})
    with pytest.warns(SpatialfmWarning, match="1 marker without signal: 'CD3'") as caught:
        monitor.check(20, {"CD3": (32, 32), "DAPI": (400, 399)})
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        monitor.check(30, {"CD3": (40, 40), "DAPI": (500, 499)})  # said before


class Several(Encoder):
    """Offers what it is told to."""

    def __init__(self, output):
        super().__init__()
        self.card, self.weights, self.options, self.output = CARD, Weights("none"), {}, output

    def forward(self, pixels, markers=None, *, mask=None):
        values = pixels[:, :, ::4, ::4, None] * torch.tensor([1.0, 2.0])  # (B, M, h, w, D)
        made = {
            "token": values,
            "marker": values.mean((2, 3)),
            "summary": values.mean(1),
            "patch": values.mean((1, 2, 3)),
        }
        return EncoderOutput(**{self.output: made[self.output]})


@pytest.mark.parametrize("output", ["patch", "marker", "summary", "token"])
def test_a_window_has_one_vector_whatever_is_offered(output):
    windows = [WindowSample(torch.randn(m, 8, 8, generator=torch.Generator().manual_seed(m)), None, ("x",) * m, 0)
               for m in (2, 5)]  # fmt: skip
    encoder = Several(output).train()
    found = embeddings_of(encoder, windows)
    mean = [one.pixels[:, ::4, ::4].mean().item() for one in windows]
    np.testing.assert_allclose(found, np.outer(mean, [1, 2]), rtol=1e-5)
    assert encoder.training
