"""What fine-tuning settles before its first step: rates, lengths, what is trained, how embeddings are standardised."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from anndata import AnnData
from spatialdata import SpatialData
from tiny_training import TinyEncoder
from torch import nn

from spatialfm._errors import ArgumentError, ModelError
from spatialfm.models.adapter import base_digest
from spatialfm.train import tuning as module
from spatialfm.train.cell_objective import CellTargets
from spatialfm.train.tuning import FineTuning, _check_reached, _learner, _prepared, card_of_tuning, embeddings

from .tiny import encoder_of


def tuning(**options) -> FineTuning:
    return FineTuning(SpatialData(), **options)


@pytest.mark.parametrize(
    ("options", "encoder", "head"),
    [
        ({}, 5e-4, 5e-3),
        ({"method": "full"}, 5e-5, 5e-3),
        ({"method": "bcos"}, 5e-4, 5e-3),
        ({"method": "linear"}, 5e-3, 5e-3),
        ({"method": "full", "learning_rate": 1e-3}, 1e-3, 5e-3),
        (
            {"method": "linear", "learning_rate": 1e-3},
            1e-3,
            1e-3,
        ),  # there is but the layer, and its rate is the one asked for
    ],
)
def test_rates_are_those_of_the_method(options, encoder, head):
    rates = tuning(weight_decay=0.3, **options).rates()
    assert (rates.encoder, rates.head, rates.weight_decay) == (encoder, head, 0.3)


def test_a_checkpoint_is_written_before_each_look():
    length = tuning(steps=70, batch_size=8, check_every=7, random_state=3, workers=0).length()
    assert (length.n_steps, length.batch_size, length.seed, length.workers) == (70, 8, 3, 0)
    assert length.checkpoint_every == length.check_every == 7


def test_a_label_of_the_tissue_is_learned_by_an_adapter_or_a_layer_alone():
    for method in ("full", "bcos"):
        with pytest.raises(ArgumentError, match=f"level='tissue' with method='{method}'"):
            tuning(level="tissue", method=method).check()
    with pytest.raises(ArgumentError, match="Leave outputs= out"):
        tuning(level="tissue", outputs="patch").check()
    for method in ("lora", "linear"):
        tuning(level="tissue", method=method).check()
    tuning(method="full", outputs="patch").check()
    with pytest.raises(ArgumentError, match="no embedding of their own"):
        tuning(level="tissue").fit(AnnData(), "kind", "patient")


@pytest.fixture(scope="module")
def virtues():
    return encoder_of("virtues")


def trained(encoder) -> set[str]:
    return {name for name, one in encoder.named_parameters() if one.requires_grad}


@pytest.mark.parametrize("method", ["linear", "lora", "full"])
def test_what_is_trained_is_what_the_method_says(method):
    encoder = encoder_of("virtues")
    names = {name for name, _ in encoder.named_parameters()}
    of = trained(_prepared(tuning(method=method, rank=2, blocks=1), encoder))
    if method == "linear":
        assert not of
    elif method == "full":
        assert of == names
    else:
        assert of
        assert not of & names  # columns beside the weights, in the last of four blocks
        assert all("encoder.3." in name and name.rpartition(".")[2] in ("up", "down") for name in of)


def test_models_that_cannot_learn_it_are_refused():
    empty = SimpleNamespace(card=SimpleNamespace(name="classical"), parameters=lambda: iter(()))
    with pytest.raises(ModelError, match="classical has no weights that could learn"):
        _prepared(tuning(), empty)
    with pytest.raises(ModelError, match="no channel-summary tokens"):
        _prepared(tuning(method="linear", level="tissue"), TinyEncoder())


class Windows:
    """Five windows of one number each, which is their embedding with its square."""

    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])

    def __init__(self, used=True):
        self.asked, self.used = [], used

    def __len__(self):
        return len(self.values)

    def sample(self, index, rng, *, augment=True):
        assert not augment
        return self.values[index]

    def encoding(self):
        def encode(encoder, samples):
            self.asked.append(len(samples))
            x = torch.stack(samples)
            x = x * encoder.factor if self.used else x
            return torch.stack([x, x**2], dim=1)

        return encode


class Factor(nn.Module):
    def __init__(self):
        super().__init__()
        self.card, self.factor = SimpleNamespace(name="factor"), nn.Parameter(torch.tensor(1.0))


def test_embeddings_come_in_the_order_asked_for_batch_by_batch():
    windows = Windows()
    found = embeddings(Factor(), windows, np.array([4, 0, 2]), 2)
    assert found.tolist() == [[10.0, 100.0], [1.0, 1.0], [3.0, 9.0]]
    assert windows.asked == [2, 1]
    assert not found.requires_grad


@pytest.fixture
def all_drawn(monkeypatch):
    """Each window is drawn, one of them twice, which counts once."""
    monkeypatch.setattr(module, "draw", lambda windows, seed, step, n: np.array([3, 0, 1, 2, 4, 4]))


CELLS = SimpleNamespace(training=None, targets=CellTargets(np.array([0, 1, 0, 1, 1]), classes=("a", "b")))


@pytest.mark.parametrize(("method", "head"), [("linear", "linear"), ("bcos", "linear"), ("linear", "bcos")])
def test_embeddings_are_standardised_by_the_cells_that_are_trained_on(all_drawn, method, head):
    cells = SimpleNamespace(training=Windows(), targets=CELLS.targets)
    learner = _learner(tuning(method=method, head=head), Factor(), cells)
    assert learner.center.tolist() == pytest.approx([4.0, 26.0])  # (1 + 2 + 3 + 4 + 10) / 5, of squares 130 / 5
    # mean square 26 less 4 squared; (1 + 16 + 81 + 256 + 10,000) / 5 less 26 squared
    expected = [1 / np.sqrt(2 * 10), 1 / np.sqrt(2 * (10_354 / 5 - 676))]
    assert learner.scale.tolist() == pytest.approx(expected, rel=1e-6)


def test_units_on_top_of_units_have_no_centre(all_drawn):
    cells = SimpleNamespace(training=Windows(), targets=CELLS.targets)
    learner = _learner(tuning(method="bcos", head="bcos"), Factor(), cells)
    assert learner.center.tolist() == [0, 0]
    assert learner.scale.tolist() == pytest.approx([1 / np.sqrt(2 * 26), 1 / np.sqrt(2 * 10_354 / 5)], rel=1e-6)


def test_an_encoder_that_no_gradient_reaches_is_refused():
    encoder = Factor()
    _check_reached(encoder, Windows())
    assert encoder.factor.grad is None
    with pytest.raises(ModelError, match="No gradient reaches"):
        _check_reached(encoder, Windows(used=False))
    encoder.factor.requires_grad_(False)
    _check_reached(encoder, Windows(used=False))  # nothing but the layer on top is trained


@pytest.mark.parametrize(
    ("method", "rank", "alpha", "blocks"), [("lora", 4, 3.0, 0), ("linear", 1, 1.0, 0), ("bcos", 1, 1.0, 2)]
)
def test_the_card_says_rank_and_weight_of_what_was_added(virtues, method, rank, alpha, blocks, monkeypatch):
    asked = tuning(method=method, rank=4, alpha=3.0, blocks=2)
    monkeypatch.setattr(FineTuning, "parameters", lambda self, encoder: {"of": "the call"})
    plan = SimpleNamespace(
        request=SimpleNamespace(recipe=SimpleNamespace(storable=lambda: {"window": 32})),
        run=SimpleNamespace(job=SimpleNamespace(outputs=["patch"]), panel=SimpleNamespace(markers=["CD3"])),
    )
    card = card_of_tuning(asked, SimpleNamespace(record=lambda: {"n": np.int64(3)}), virtues, plan)
    assert (card["rank"], card["alpha"], card["bcos_blocks"]) == (rank, alpha, blocks)
    assert (card["output"], card["markers"], card["recipe"]) == ("patch", ["CD3"], {"window": 32})
    assert card["cells"] == {"n": 3}
    assert card["base"]["parameters_sha256"] == base_digest(virtues)
