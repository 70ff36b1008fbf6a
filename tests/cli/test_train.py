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
    """What a function was called with; nothing is trained."""
    seen = []

    def stand_in(name):
        real = getattr(sfm.train, name)

        def called(**given):
            seen.append(given)

        called.__signature__, called.__doc__ = inspect.signature(real), real.__doc__
        called.__module__, called.__name__ = real.__module__, name
        return called

    monkeypatch.setattr(command, "_function", stand_in)
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


@pytest.mark.parametrize(
    ("function", "said"), [("pretrain", {"sources", "out", "epochs"}), ("finetune", {"sdata", "out", "label_key"})]
)
def test_the_printed_settings_are_read_and_are_the_defaults(tmp_path, calls, capsys, monkeypatch, function, said):
    monkeypatch.setitem(command.READ, "sdata", lambda path: f"read from {path}")
    assert main(["train", function, "--print-config"]) == 0
    text = capsys.readouterr().out
    config = written(tmp_path, text)
    assert main(["train", function, config]) == 0
    assert set(calls[0]) == said
    if function == "finetune":
        assert calls[0]["sdata"] == f"read from {tmp_path / 'cohort.zarr'}"
    # without the marks of comments in front of settings, it says the default of every argument
    known = inspect.signature(getattr(sfm.train, function)).parameters
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.removeprefix("# ").split(":")[0] in known]
    everything = yaml.safe_load("\n".join(line for line in lines if ": " in line or line.endswith(":")))
    assert set(everything) == set(known)
    different = {name for name, value in everything.items() if value != known[name].default}
    assert different == said


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["train", "pretrain"], 1, "--print-config > config.yaml' makes one"),
        (["train", "finetune"], 1, "spatialfm train finetune --print-config"),
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sdata: 3\nout: run\nlabel_key: type\n", "line 1: sdata: 3 is not a path."),
        ("sdata: none.zarr\nout: run\nlabel_key: type\n", "sdata: there is no store"),
        ("sdata: .\nout: run\nadata: none.h5ad\n", "adata: there is no file"),
        ("sdata: .\nout: run\nmethod: lara\n", "line 3: method: 'lara' is not"),
    ],
)
def test_objects_are_read_from_paths(tmp_path, calls, capsys, monkeypatch, text, said):
    if "adata" in text:
        monkeypatch.setitem(command.READ, "sdata", lambda path: path)
    assert main(["train", "finetune", written(tmp_path, text)]) == 1
    assert said in capsys.readouterr().err
    assert calls == []


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
