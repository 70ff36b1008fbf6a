"""Whose folder it is: what a call goes on with, and what it refuses, naming what differs."""

from __future__ import annotations

import errno
import json
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch

from spatialfm import _disk
from spatialfm._errors import RunError, SpatialfmWarning
from spatialfm.train.checkpoint import save_state
from spatialfm.train.run_folder import Identity, RunFolder

PARAMETERS = {"model": "virtues", "batch_size": 8, "options": {"lr": 1e-4, "depth": 2}, "steps": 100}
DATA = {"images": "a1", "windows": "b2", "statistics": "c3"}
OURS = Identity(PARAMETERS, DATA)


def begun(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(OURS, resume=True)
    return folder


def test_the_same_call_goes_on(tmp_path):
    record = begun(tmp_path).begin(OURS, resume=True)
    assert record["parameters"] == PARAMETERS
    assert record["data"] == DATA
    assert record["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (Identity(PARAMETERS | {"batch_size": 16}, DATA), r"other parameters.*batch_size was 8, and is 16\."),
        (
            Identity(PARAMETERS | {"options": {"lr": 1e-3, "depth": 2}}, DATA),
            r"options\['lr'\] was 0.0001, and is 0.001\.",
        ),
        (Identity(PARAMETERS | {"steps": None, "epochs": 3.0}, DATA), r"steps was 100, and is None; epochs was None"),
        (Identity(PARAMETERS, DATA | {"images": "z9"}), r"other data.*what differs of the data is images\."),
        (Identity({**PARAMETERS, "model": "kronos"}, {**DATA, "windows": "-", "statistics": "-"}),
         r"other parameters, data.*model was 'virtues', and is 'kronos'; what differs of the data is windows, statis"),
    ],
)  # fmt: skip
def test_what_differs_is_named(tmp_path, identity, message):
    folder = begun(tmp_path)
    folder.checkpoints.write(7, partial(save_state, {}))
    with pytest.raises(RunError, match=message) as refused:
        folder.begin(identity, resume=True)
    assert "of 7 steps so far" in str(refused.value)


def test_other_files_and_other_kinds_are_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run").mkdir()
    folder.begin(OURS, resume=True)  # an empty folder is anybody's
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.docx").touch()
    with pytest.raises(RunError, match=r"already holds 'thesis.docx'"):
        RunFolder(tmp_path / "other").begin(OURS, resume=True)
    with pytest.raises(RunError, match="is a file"):
        RunFolder(tmp_path / "other" / "thesis.docx").begin(OURS, resume=True)
    (tmp_path / "run" / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunError, match="is not what this version writes"):
        folder.begin(OURS, resume=True)


def test_a_run_is_not_begun_anew_over_another(tmp_path):
    folder = begun(tmp_path)
    before = (folder.path / "run.json").read_text()
    with pytest.raises(RunError, match="resume=False would begin anew over it"):
        folder.begin(OURS, resume=False)
    assert (folder.path / "run.json").read_text() == before


def test_a_finished_run_without_checkpoints_is_not_said_to_have_no_steps(tmp_path):
    folder = begun(tmp_path)
    with pytest.raises(RunError, match="of no steps yet"):
        folder.begin(Identity({**PARAMETERS, "steps": 1}, DATA), resume=True)
    (folder.path / "card.json").write_text("{}")
    with pytest.raises(RunError, match="of all of its steps: steps was 100, and is 1"):
        folder.begin(Identity({**PARAMETERS, "steps": 1}, DATA), resume=True)


def test_other_code_of_ones_own_is_warned_of(tmp_path):
    folder, code = RunFolder(tmp_path / "run"), {"the code of the objective": "abc"}
    folder.begin(Identity({"a": 1}, {}, code), resume=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder.begin(Identity({"a": 1}, {}, code), resume=True)
    with pytest.warns(SpatialfmWarning, match="the code of the objective abc then, def now"):
        folder.begin(Identity({"a": 1}, {}, {"the code of the objective": "def"}), resume=True)


def test_other_versions_are_warned_of(tmp_path):
    folder = begun(tmp_path)
    record = json.loads((folder.path / "run.json").read_text())
    record["versions"]["torch"] = "1.0"
    folder.write(record)
    with pytest.warns(SpatialfmWarning, match=rf"other versions.*torch 1.0 then, {torch.__version__.split('+')[0]}"):
        folder.begin(OURS, resume=True)


def test_a_folder_is_held_by_one_process(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.held(), pytest.raises(RunError, match="is in use by process"), RunFolder(tmp_path / "run").held():
        pass
    assert not (tmp_path / "run").exists()
    with folder.held():
        folder.begin(OURS, resume=True)
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_the_mark_of_a_machine_that_failed_is_named(tmp_path, monkeypatch):
    """A job that was requeued on another node cannot know whether the process of the first still runs."""
    folder = RunFolder(tmp_path / "run")
    with folder.held():
        monkeypatch.setattr("platform.node", lambda: "node8")
        with pytest.raises(RunError, match="; where it has ended, such as with its node, delete '") as refused:
            with RunFolder(tmp_path / "run").held():
                pass
        named = str(refused.value).split("delete '")[1].split("'")[0]
        Path(named).unlink()
        with RunFolder(tmp_path / "run").held():
            pass


def test_a_folder_that_cannot_be_written_is_said_before_any_work(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_disk, "write_bytes", full)
    with pytest.raises(RunError, match=r"Files of the run in '.*run' could not be written: No space left on device"):
        with RunFolder(tmp_path / "run").held():
            pass
    assert list(tmp_path.iterdir()) == []
