from __future__ import annotations

import ast
import logging
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError
from spatialfm.models import Encoder, EncoderOutput, ModelCard, Weights, registry

BUILTIN = [
    *("classical", "dinobloom-b", "dinobloom-g", "dinobloom-l", "dinobloom-s"),
    *("dinov2-b", "dinov2-g", "dinov2-l", "dinov2-s", "eva"),
    *("kronos", "kronos-large", "kronos2", "mean-intensity", "morphem", "openphenom", "resnet50"),
    *("subcell", "uni"),
    *("virtues", "virtues-imc14", "virtues-m2", "virtues-sp32"),
]


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    sfm.models.list_models()
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    monkeypatch.setattr(registry, "_TERMS_SHOWN", set())


def own_card(name="own", **changes) -> ModelCard:
    fields = {"family": "own", "title": "own", "license": "MIT", "commercial": True, "gated": False, "reference": "-"}
    return ModelCard(**{"name": name, "trained_on": "-", "needs_weights": False, **fields, **changes})


class Own(Encoder):
    def __init__(self, card, weights, *, gain=1.0):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)
        self.dropout = torch.nn.Dropout(0.5)
        self.gain, self.given = gain, weights

    def forward(self, pixels, markers=None, *, mask=None):
        return EncoderOutput(patch=self.gain * pixels.mean((2, 3)))


def test_list_models():
    table = sfm.models.list_models()
    assert isinstance(table, pd.DataFrame)
    assert [name for name in table.index if name in BUILTIN] == BUILTIN
    row = table.loc["kronos"]
    assert (row["license"], row["commercial"], row["gated"]) == ("CC-BY-NC-ND-4.0", False, True)
    assert (row["parameters"], row["window"], row["mpp"]) == (21484800, 64, 0.5)
    assert row["outputs"] == "patch, marker, token, attention"
    assert row["marker_vocabulary"] == "ids"
    assert pd.isna(table.loc["kronos2", "parameters"])
    assert table.loc["dinov2-l", "parameters"] == 304368640
    assert (table.loc[BUILTIN, "reference"].str.len() > 5).all()  # others are registered by other tests
    assert pd.isna(table.loc["classical", "window"])
    assert table.loc["classical", "commercial"]


def test_card():
    assert sfm.models.card("kronos-large").embedding_dim == 1024
    assert "<th" in sfm.models.card("kronos")._repr_html_()


@pytest.mark.parametrize("call", [sfm.models.card, sfm.models.load])
def test_unknown_model(call):
    with pytest.raises(
        ModelError, match=r"No model 'cronos'; there are: .*classical, .*kronos, kronos-large, .*mean-intensity"
    ):
        call("cronos")


def test_unknown_option():
    message = "Model 'kronos' has no option 'overlap'. Did you mean 'token_overlap'?"
    with pytest.raises(ModelError) as caught:
        sfm.models.load("kronos", weights="random", overlap=True)
    assert str(caught.value) == message
    with pytest.raises(ModelError, match="'mean-intensity' has no option 'mpp'. There are: weights"):
        sfm.models.load("mean-intensity", mpp=1)


def test_weights_for_a_model_that_has_none():
    with pytest.raises(ModelError, match="'classical' has no weights. Leave out weights='random'"):
        sfm.models.load("classical", weights="random")


def test_load_gives_a_frozen_encoder_in_evaluation_mode():
    encoder = sfm.models.load("kronos", weights="random")
    assert not encoder.training
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert encoder.device == torch.device("cpu")


def test_every_file_that_registers_a_model_is_loaded():
    """The line of registration that a new encoder needs."""

    def registers(path: Path) -> bool:
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        return any(ast.unparse(call.func) == "register" for call in calls)

    folder = Path(registry.__file__).parent
    assert {path.stem for path in folder.glob("*.py") if registers(path)} == set(registry._BUILTIN)


def test_register_a_class():
    sfm.models.register(own_card())(Own)
    assert "own" in sfm.models.list_models().index
    encoder = sfm.models.load("own", gain=3.0)
    assert encoder.card == own_card()
    assert encoder.weights == Weights("none")
    assert encoder.options == {"gain": 3.0}
    assert not encoder.dropout.training
    torch.testing.assert_close(encoder(torch.ones(2, 3, 4, 4)).patch, torch.full((2, 3), 3.0))
    with pytest.raises(ModelError, match="'own' has no option 'gian'. Did you mean 'gain'"):
        sfm.models.load("own", gian=2)


def test_register_a_function_for_two_cards():
    def build(card, weights, *, gain=2.0):
        return Own(card, weights, gain=gain)

    for name in ("a", "b"):
        assert sfm.models.register(own_card(name, needs_weights=True))(build) is build
    encoder = sfm.models.load("b", weights="x.pt")
    assert (encoder.card.name, encoder.given, encoder.gain) == ("b", "x.pt", 2.0)


def test_a_name_belongs_to_one_model():
    sfm.models.register(own_card())(Own)
    sfm.models.register(own_card(title="again"))(Own)  # a notebook cell that is run twice
    assert sfm.models.card("own").title == "again"
    with pytest.raises(ModelError, match="'kronos' is registered already, by spatialfm.models.kronos.build_kronos"):
        sfm.models.register(own_card("kronos"))(Own)
    assert sfm.models.card("kronos").family == "kronos"


def test_a_builder_must_give_an_encoder():
    sfm.models.register(own_card())(lambda card, weights: torch.nn.Linear(1, 1))
    with pytest.raises(ModelError, match="builder of model 'own' gave a Linear"):
        sfm.models.load("own")


def test_a_card_promises_only_outputs_that_exist():
    with pytest.raises(ValueError, match="unknown output 'pixel'"):
        own_card(outputs=("patch", "pixel"))
    with pytest.raises(ValueError, match="default output 'marker' is not among"):
        own_card(default_output="marker")


def test_terms_are_shown_once_a_session(caplog):
    with caplog.at_level(logging.INFO, "spatialfm"):
        for _ in range(2):
            sfm.models.load("kronos", weights="random")
            sfm.models.load("classical")
    terms = [record.getMessage() for record in caplog.records if "Cite" in record.getMessage()]
    assert len(terms) == 1
    assert "CC-BY-NC-ND-4.0, non-commercial use only, and given out on request" in terms[0]
    assert "arXiv:2506.03373" in terms[0]


def test_importing_the_namespace_costs_no_torch():
    code = (
        "import sys, spatialfm as sfm; sfm.models.ModelCard; sfm.models.register\n"
        "import spatialfm.models.card\n"
        "assert sfm.models.card.__name__ == 'card' and callable(sfm.models.card)\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules\n"
        "assert sfm.models.card('kronos').name == 'kronos'\n"
        "assert set(dir(sfm.models)) >= {'load', 'Encoder', 'card'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
