"""``spatialfm train``: the settings file has the arguments of the function, checked before any work."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import yaml

import spatialfm as sfm
from spatialfm.cli import main
from spatialfm.cli import train as command


@pytest.fixture
def calls(monkeypatch):
    """What the function was called with; nothing is trained."""
    real, seen = sfm.train.pretrain, []

    def pretrain(sources, model="virtues", **given):
        seen.append({"sources": sources, "model": model, **given})

    pretrain.__signature__, pretrain.__doc__ = inspect.signature(real), real.__doc__
    pretrain.__module__ = real.__module__
    monkeypatch.setattr(command, "_function", lambda name: pretrain)
    return seen


def written(folder: Path, text: str) -> str:
    (folder / "config.yaml").write_text(text)
    return str(folder / "config.yaml")


def test_arguments_reach_the_function_and_paths_start_at_the_file(tmp_path, calls, monkeypatch, capsys):
    (tmp_path / "weights.pt").touch()
    config = written(
        tmp_path,
        "sources: [a.zarr, b]\nout: run\nmodel: kronos\nsteps: 10\nshape: {dim: 64}\nweights: weights.pt\n"
        "validation: [P1, P2]\nwindows:\n  size: 64\n",
    )
    monkeypatch.chdir("/")
    assert main(["train", "pretrain", config]) == 0
    assert calls == [
        {
            "sources": [str(tmp_path / "a.zarr"), str(tmp_path / "b")],
            "out": str(tmp_path / "run"),
            "model": "kronos",
            "steps": 10,
            "shape": {"dim": 64},
            "weights": str(tmp_path / "weights.pt"),
            "validation": ["P1", "P2"],
            "windows": {"size": 64},
        }
    ]
    assert f"saved in '{tmp_path / 'run'}'" in capsys.readouterr().out


def test_everything_that_is_wrong_is_said_at_once(tmp_path, calls, capsys):
    config = written(tmp_path, "sources: 3\nbatch_sise: 4\nsteps: -1\nprecision: 64\nresume: maybe\n")
    assert main(["train", "pretrain", config]) == 1
    said = capsys.readouterr().err
    assert "has 6 problems" in said
    assert "line 1: sources: 3 is not a path" in said
    assert "line 2: batch_sise: there is no such setting. Did you mean 'batch_size'?" in said
    assert "line 3: steps: -1 is not" in said
    assert "line 4: precision: 64 is not" in said
    assert "line 5: resume: 'maybe' is not True or False" in said
    assert "out: is missing. Set for example 'out: run'." in said
    assert calls == []


def test_the_printed_settings_are_read_and_are_the_defaults(tmp_path, calls, capsys):
    assert main(["train", "pretrain", "--print-config"]) == 0
    text = capsys.readouterr().out
    config = written(tmp_path, text)
    assert main(["train", "pretrain", config]) == 0
    assert set(calls[0]) == {"sources", "out", "epochs", "model"}
    # without the marks of comments in front of settings, it says the default of every argument
    known = inspect.signature(sfm.train.pretrain).parameters
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.removeprefix("# ").split(":")[0] in known]
    everything = yaml.safe_load("\n".join(line for line in lines if ": " in line or line.endswith(":")))
    assert set(everything) == set(known)
    different = {name for name, value in everything.items() if value != known[name].default}
    assert different == {"sources", "out", "epochs"}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["train", "pretrain"], 1, "--print-config > config.yaml' makes one"),
        (["train", "pretrain", "nowhere.yaml"], 1, "There is no settings file 'nowhere.yaml'"),
    ],
)
def test_without_a_file_it_is_said_how_to_make_one(arguments, status, said, capsys):
    assert main(arguments) == status
    assert said in capsys.readouterr().err


def test_a_typo_of_the_function_is_answered(capsys):
    with pytest.raises(SystemExit):
        main(["train", "pretrian", "x.yaml"])
    assert "Did you mean 'pretrain'?" in capsys.readouterr().err


def test_it_trains(tmp_path, capsys):
    """The real function, from a store on the disk to weights that are loaded."""
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=64, random_state=0, difficulty="easy")
    sdata.write(tmp_path / "cohort.zarr")
    config = written(
        tmp_path,
        "sources: cohort.zarr\nout: run\nmodel: virtues\nsteps: 1\nbatch_size: 2\n"
        "shape: {dim: 16, depth: 2, heads: 2, decoder_depth: 1, hidden: 16}\n"
        "windows: {size: 32, crop: 16, panel: {markers: [CD3, CD8]}}\n",
    )
    assert main(["train", "pretrain", config]) == 0
    assert sfm.models.load("virtues", weights=tmp_path / "run").card.embedding_dim == 16
    assert main(["train", "pretrain", written(tmp_path, Path(config).read_text().replace("steps: 1", "steps: 2"))]) == 1
    assert "steps was 1, and is 2" in capsys.readouterr().err
