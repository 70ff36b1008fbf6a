"""Wrong values beyond the arguments of functions: options of models, methods, settings, cards, the command line."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmError
from spatialfm._settings import Settings
from spatialfm.cli import main
from spatialfm.models.card import ModelCard
from spatialfm.models.registry import options_of

WRONG = [  # for whatever an option may be; what one of them may be is left out below
    *(-3, -0.5, 0, 0.5, 10**20, math.nan, math.inf, True, None, "", "no such thing", b"name", [], ["a"], (3, "a")),
    *({"a": 1}, {3}, object(), len, np.zeros((2, 2)), pd.DataFrame({"a": [1]}), Path("a"), pd.NA, np.datetime64("NaT")),
]


def is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


MAY_BE = {  # written out by hand: what each option of a model of ours takes
    "token_overlap": lambda value: value is True,
    "rgb": lambda value: value is True,
    "trust_remote_code": lambda value: value is True,
    "genept": lambda value: value is None or isinstance(value, Path) or is_text(value),
    "tokens": lambda value: False,
    "cls_position": lambda value: False,
    "features": lambda value: False,
    "saturation_noise": lambda value: value is True,
    "minmax": lambda value: False,
    "reference": lambda value: value is None or is_text(value),
    "noise_seed": lambda value: value is not True and isinstance(value, int) and value == 0,
    "blocks": lambda value: value is None,
    "nuclear": lambda value: value is None,
    "marker_metadata": lambda value: value is None or isinstance(value, Path) or is_text(value),
    "preferred_dapi": lambda value: value is None or is_text(value),
    "mpp": lambda value: (
        value is None or (isinstance(value, int | float) and value is not True and value in (0.5, 10**20))
    ),
    "rim": lambda value: value is None or (isinstance(value, float) and value == 0.5),
}
OURS = [name for name in sfm.models.list_models().index if not name.startswith(("own", "brightest"))]
OPTIONS = [(model, option) for model in OURS for option in options_of(model)]


def test_every_option_of_a_model_is_tried():
    assert {option for _, option in OPTIONS} == set(MAY_BE)


@pytest.mark.parametrize(("model", "option"), OPTIONS)
def test_wrong_options_of_models_are_refused_by_name_before_any_work(model, option, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("looked for weights")

    for work in ("locate", "fill_random"):
        monkeypatch.setattr(f"spatialfm.models.hub.{work}", forbidden)
    tried = [value for value in WRONG if not MAY_BE[option](value)]
    assert len(tried) > 10
    for value in tried:
        with pytest.raises(ArgumentError, match=rf"^{model}\({option}=.*{option} must be"):
            sfm.models.load(model, **{option: value})


def test_options_reach_the_embedding_functions_and_nothing_is_written(blobs, make_sdata):
    image, labels = blobs()
    sdata = make_sdata({"a": (image, labels)}, ["DAPI", "CD3", "CD8"])
    sfm.pp.cell_table(sdata)
    before = (list(sdata["table"].obsm), list(sdata["table"].uns), sorted(sdata.tables))
    for call in (
        lambda: sfm.tl.embed_cells(sdata, sfm.models.load("kronos", weights="random", token_overlap="yes")),
        lambda: sfm.tl.embed_tiles(sdata, sfm.models.load("kronos", weights="random", token_overlap=1)),
        lambda: sfm.tl.embed_cells(sdata, sfm.models.load("classical", rim=-1)),
        lambda: sfm.tl.embed_cells(sdata, sfm.models.load("classical", rim=math.nan)),
    ):
        with pytest.raises(ArgumentError, match="must be"):
            call()
    assert (list(sdata["table"].obsm), list(sdata["table"].uns), sorted(sdata.tables)) == before


def test_numbers_of_numpy_are_options():
    encoder = sfm.models.load("classical", rim=np.float32(0.5), mpp=np.array(0.5))
    assert encoder.options == {"mpp": 0.5, "rim": 0.5}
    assert [type(value) for value in encoder.options.values()] == [float, float]
    assert sfm.models.load("classical", rim=1).options["rim"] == 1.0


def test_a_rim_wider_than_any_cell_leaves_no_core():
    """Erosion by more than the box is empty, and takes no memory in proportion to the width."""
    import torch

    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, 4:12, 4:12] = True
    encoder = sfm.models.load("classical", mpp=1e-4, rim=1000.0)
    patch = encoder(torch.rand(1, 1, 16, 16), mask=mask).patch[0]
    names = encoder.feature_names(["CD3"])
    core = [value for name, value in zip(names, patch.tolist(), strict=True) if "membrane" in name]
    assert core == [0.0]
    assert torch.isfinite(patch).all()


# ------------------------------------------------------------------------------------------------- cards and indexes


def a_card(**changes):
    needed = {
        "name": "own", "family": "own", "title": "own", "license": "MIT", "commercial": True, "gated": False,
        "reference": "-", "trained_on": "-",
    }  # fmt: skip
    return ModelCard(**(needed | changes))


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "name": (None, 3, "", b"a", ["a"]),
        "commercial": (None, 1, "yes"),
        "mpp": (0, -0.5, math.nan, "0.5", True),
        "mpp_range": (0.5, (0.5,), (0.5, "a"), (-1, 2)),
        "window": (0, -3, 0.5, "64", True),
        "patch_size": (0, 16.0, "16"),
        "embedding_dim": (0, -1, "384"),
        "parameters": (-1, "many", 1.5),
        "normalization": ("marker", None, 3),
        "marker_vocabulary": ("id", None),
        "background": ("one", None),
        "mode": ("crops", 3),
        "domains": (("light",), "fluorescence", {"rgb"}),
        "outputs": ("patch", 3, ("patch", 3)),
        "hub": (3, ""),
    }.items(),
)
def test_a_card_with_a_wrong_field_is_refused(field, values):
    kind = sfm.Recipe if field in sfm.Recipe.names() else ModelCard
    assert field in {one.name for one in fields(kind)}
    for value in values:
        with pytest.raises(ArgumentError, match=rf"^{kind.__name__}\({field}=.*{field} must be"):
            sfm.Recipe(**{field: value}) if kind is sfm.Recipe else a_card(**{field: value})


def test_a_card_keeps_what_it_is_given():
    card = a_card(mpp=np.float32(0.5), recipe=sfm.Recipe(window=np.int64(64)), outputs=["patch"])
    assert (card.mpp, card.recipe.window, list(card.outputs)) == (0.5, 64, ["patch"])
    assert (type(card.mpp), type(card.recipe.window)) == (float, int)


@pytest.fixture(scope="module")
def index():
    return sfm.tl.build_index(
        sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=20, random_state=0), "X_latent"
    )


@pytest.mark.parametrize("method", ["save", "load"])
def test_paths_of_an_index_are_held_against_the_signature(index, method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in (None, 3, True, b"a", [], {"a"}, object(), np.zeros(3), "a\0b", ""):
        with pytest.raises(ArgumentError, match=rf"^{method}\(path=.*path must be a path"):
            getattr(index, method)(value)
    assert not list(tmp_path.iterdir())


def test_what_is_no_index_is_refused_in_our_words(index, tmp_path):
    (tmp_path / "text").write_text("text")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("kept")
    for name in ("absent", "text", "other.npz", "array.npy", "folder"):
        with pytest.raises(SpatialfmError, match=rf"{name}.* is not an index: "):
            type(index).load(tmp_path / name)
    with pytest.raises(SpatialfmError, match="Cannot write the index to .*folder"):
        index.save(tmp_path / "folder")
    assert (tmp_path / "folder" / "mine").read_text() == "kept"


# -------------------------------------------------------------------------------------------------------- settings

SETTINGS = {
    "cache_dir": (None, 3, True, "", b"a", [], "a\0b", Settings),
    "device": (None, 3, True, "", " ", b"cpu", ["cpu"]),
    "batch_memory": (
        None,
        True,
        -5,
        0,
        "0 MB",
        math.nan,
        math.inf,
        "",
        "much",
        "...",
        "1.2.3 MB",
        "1e400",
        [],
        10**400,
    ),
    "result_memory": (None, True, -5, math.nan, math.inf, "", ".", "1,5 GB", "12 parsecs", [], "٣ MB", 10**400),
    "verbosity": (None, -1, 4, 1.5, True, "loud", "", [2], 10**400),
    "progress": (None, 3, 0.5, "maybe", "2", [], np.nan),
    "offline": (None, 3, 0.5, "maybe", "2", [], np.nan),
}


def test_every_setting_is_tried():
    assert set(SETTINGS) == set(Settings._defaults())


@pytest.mark.parametrize("name", SETTINGS)
def test_wrong_settings_are_refused_by_name_and_the_old_value_stays(name):
    before = repr(sfm.settings)
    for value in SETTINGS[name]:
        with pytest.raises(ArgumentError, match=rf"settings\.{name}\b"):
            setattr(sfm.settings, name, value)
        assert repr(sfm.settings) == before, value


def test_odd_settings_that_are_meant_are_taken():
    for name, value, kept in (
        ("progress", np.True_, True),
        ("progress", "No", False),
        ("offline", np.array(True), True),
        ("verbosity", np.int64(1), 1),
        ("verbosity", np.array(3), 3),
        ("batch_memory", np.int64(1024), 1024),
        ("result_memory", 0, 0),
        ("cache_dir", Path("a"), Path("a")),
    ):
        setattr(sfm.settings, name, value)
        assert getattr(sfm.settings, name) == kept
        assert type(getattr(sfm.settings, name)) is type(kept) or name == "cache_dir"


def test_a_word_in_the_environment_that_says_neither_is_told_and_not_taken(monkeypatch, caplog):
    monkeypatch.setenv("SPATIALFM_OFFLINE", "maybe")
    settings = Settings()
    assert settings.offline is False
    assert "SPATIALFM_OFFLINE=maybe cannot be understood, and False counts" in caplog.text


# ------------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nope"],
        ["models", "x"],
        ["markers"],
        ["markers", ""],
        ["markers", "a\0b"],
        *(["demo", "--patients", value] for value in ("x", "-3", "7", "8.5", "", "nan", "9" * 30, "9" * 5000)),
        *(["demo", "--seed", value] for value in ("x", "-1", "1.5", "", "99999999999", "True")),
        *(["demo", "--model", value] for value in ("", "kronoss", " ")),
        ["demo", "--out", ""],
        ["demo", "--weights", ""],
    ],
)
def test_the_command_line_refuses_with_a_sentence_and_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert "error: " in said.err
    assert "Traceback" not in said.err
    assert len(said.err) < 900
    assert said.out == ""
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_of_places_that_it_cannot_write(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--out", "file"])
    assert stopped.value.code == 2
    assert "'file' is a file" in capsys.readouterr().err
    assert main(["demo", "--out", "file/below"]) == 1
    assert "Pass another path" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "classical", "--weights", "x"], "'classical' has no weights"),
        (["--model", "kronos", "--weights", "no/such/folder/at all"], "kronos"),
    ],
)
def test_the_demo_refuses_weights_before_it_simulates(arguments, message, tmp_path, capsys):
    assert main(["demo", *arguments, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert "simulate" not in said.out
    assert not (tmp_path / "out").exists()
