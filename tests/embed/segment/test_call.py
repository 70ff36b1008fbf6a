"""Cells of images by a network: which files are meant, how images are cut, what is put together for each."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, WeightsError
from spatialfm.embed.segment import call as module
from spatialfm.embed.segment.call import _beside, _model, open_network, plan_images, record_of, run_images
from spatialfm.embed.segment.tiles import Phenotypes
from spatialfm.models.virtues_segmenter import HEAD_FILE
from spatialfm.pp.elements import SampleElements


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ("w", {"batchsize": 4}, "has no 'batchsize'"),
        (None, {}, "needs the weights of its head"),
        *[("w", {"batch_size": value}, "whole number, at least 1") for value in (0, True, 2.0, "4")],
        ("w", {"phenotypes": "T cell"}, "is one name"),
        ("w", {"encoder": 3}, "must be a file, a folder or an encoder"),
        ("w", {"model": "kronos"}, "'kronos'} has no head; virtues and virtues-sp32 have one"),
        ("w", {}, "does not say which set of weights"),
    ],
)
def test_options_that_cannot_be_are_refused_before_a_file_is_read(weights, options, message):
    with pytest.raises(ArgumentError, match=message):
        open_network(weights, options)


@pytest.mark.parametrize(
    ("weights", "model"),
    [
        ("/any/virtues-sp31", "virtues"),
        (f"/any/virtues-sp32/{HEAD_FILE}", "virtues-sp32"),
        ("bunnelab/virtues/virtues-sp31", "virtues"),
    ],
)
def test_the_folder_says_which_model_it_is(weights, model):
    assert _model(weights, None) == model
    assert _model(weights, "virtues-sp32") == "virtues-sp32"
    for unclear in ("/any/virtues-sp31-copy", "/virtues-sp31/virtues-sp32"):
        with pytest.raises(ArgumentError, match="does not say which"):
            _model(unclear, None)


def test_the_encoder_is_beside_the_head(tmp_path):
    head = tmp_path / HEAD_FILE
    assert _beside(tmp_path) == tmp_path
    head.touch()
    with pytest.raises(WeightsError, match="no model.safetensors beside it"):
        _beside(head)
    (tmp_path / "model.safetensors").touch()
    assert _beside(head) == tmp_path / "model.safetensors"
    assert _beside(f"bunnelab/virtues/virtues-sp31/{HEAD_FILE}") == "bunnelab/virtues/virtues-sp31"


def inputs_of(markers=("CD3", "DAPI"), dropped=(), nuclear=None, sizes=(0.5, 0.4)):
    samples = ["a", "b"][: len(sizes)]
    shapes = [(100, 70), (50, 60)][: len(sizes)]
    return SimpleNamespace(
        readers=[
            SimpleNamespace(shape=shape, fingerprint=f"pixels {name}")
            for name, shape in zip(samples, shapes, strict=True)
        ],
        raw=[SimpleNamespace(channel_names=("CD3", "DAPI"), image=np.zeros((2, *shape))) for shape in shapes],
        notes={"mpp_used": dict(zip(samples, sizes, strict=True))},
        panel=SimpleNamespace(markers=list(markers), dropped=dict.fromkeys(dropped, "why")),
        encoder=SimpleNamespace(nuclear=nuclear),
        ratios=np.array([1.0, 2.0]),
    )


def planned(monkeypatch, inputs, tile_size=64, overlap=20.0, area=10.0):
    monkeypatch.setattr(module, "prepare_inputs", lambda *args: inputs)
    pairs = [SampleElements(name, f"image_{name}", None, name) for name in inputs.notes["mpp_used"]]
    network = SimpleNamespace(segmenter=SimpleNamespace(encoder=inputs.encoder), request=None)
    return plan_images(None, pairs, network, tile_size, overlap, area)[1]


def test_lengths_are_brought_to_the_pixels_of_each_image(monkeypatch):
    first, second = planned(monkeypatch, inputs_of())
    assert (first.sample, first.image, first.mpp) == ("a", "image_a", 0.5)
    assert (first.grid.shape, first.grid.side, first.grid.margin) == ((100, 70), 64, 20)  # 10 µm on each side
    assert first.min_area == pytest.approx(10 / 0.25)
    assert (second.grid.shape, second.grid.margin) == ((50, 60), 25)
    assert second.min_area == pytest.approx(10 / 0.16)
    assert planned(monkeypatch, inputs_of(sizes=(0.3,)), tile_size=68)[0].grid.margin == 34  # 33.3, and not less


def test_tiles_smaller_than_their_overlap_are_refused(monkeypatch):
    assert len(planned(monkeypatch, inputs_of(sizes=(0.5,)), tile_size=40)) == 1
    with pytest.raises(ArgumentError, match="Tiles of 39 pixels are smaller than their overlap of 40"):
        planned(monkeypatch, inputs_of(), tile_size=39)


def test_a_panel_without_nuclei_is_told_what_would_help(monkeypatch):
    with pytest.warns(SpatialfmWarning, match="No marker of nuclei is among the 1 marker") as told:
        planned(monkeypatch, inputs_of(("CD3",), ("DAPI", "blank")))
    assert "'DAPI' would be one" in str(told[0].message)
    with pytest.warns(SpatialfmWarning) as told:
        planned(monkeypatch, inputs_of(("CD3",), ("blank",)))
    assert "would be one" not in str(told[0].message)


@pytest.mark.parametrize(("memory", "in_memory"), [(4 * (100 * 70 + 50 * 60), True), (4 * 10_000 - 1, False)])
def test_cells_that_are_lost_on_the_grid_of_the_image_lose_their_phenotype(monkeypatch, memory, in_memory):
    inputs, kept_forgets, decided = inputs_of(), [], []
    jobs = planned(monkeypatch, inputs)
    sfm.settings.result_memory = memory
    phenotypes = Phenotypes(np.arange(6.0).reshape(3, 2), np.arange(6).reshape(3, 2), np.arange(3.0))

    def find(job, logits, decides, kept, step, names, held):
        decided.append((decides["pixels"], decides["mean"], held))
        names.append(f"tile of {job.sample}")
        return f"objects {job.sample}", 3, phenotypes if job.sample == "a" else None

    def on_grid(labels, n, ratio, shape, image, held):
        return f"{labels} at {ratio:g}, {shape}", None if ratio == 1 else np.array([0, 2])

    def kept_of(identity):
        return SimpleNamespace(forget=kept_forgets.extend)

    logit_map = lambda network, inputs, number: SimpleNamespace(markers="m", mean=number, std=1)  # noqa: E731
    stand_ins = {"find_objects": find, "on_image_grid": on_grid, "Kept": kept_of, "_logit_map": logit_map}
    for name, one in stand_ins.items():
        monkeypatch.setattr(module, name, one)
    first, second = run_images(SimpleNamespace(identity=lambda: {"encoder": "e"}), inputs, jobs)
    assert (first.labels, first.n, first.mpp) == ("objects a at 1, (100, 70)", 3, 0.5)
    assert first.phenotypes is phenotypes
    assert (second.labels, second.n, second.phenotypes) == ("objects b at 2, (50, 60)", 2, None)
    assert decided == [("pixels a", 0, in_memory), ("pixels b", 1, in_memory)]
    assert kept_forgets == ["tile of a", "tile of b"]
    inputs.ratios[0] = 2.0
    (first, _) = run_images(SimpleNamespace(identity=dict), inputs, jobs)
    assert first.n == 2
    assert first.phenotypes.probability.tolist() == [[0, 1], [4, 5]]
    assert first.phenotypes.unknown.tolist() == [0, 2]


def test_the_record_says_files_of_head_and_encoder_apart():
    file = lambda name: SimpleNamespace(source=f"{name}.safetensors", sha256=f"sha of {name}")  # noqa: E731
    card = SimpleNamespace(name="virtues", license="MIT", commercial=True)
    encoder = SimpleNamespace(card=card, weights=file("encoder"), options={"nuclear": "histone"})
    segmenter = SimpleNamespace(encoder=encoder, head_weights=file("head"), answers=("T", "B"))
    names = ("markers", "markers_dropped", "marker_embeddings", "normalization_source", "recipe", "domain_warnings")
    inputs = SimpleNamespace(notes={name: [name] for name in names} | {"other": 1})
    record = record_of(SimpleNamespace(segmenter=segmenter), inputs)
    assert (record["weights"], record["sha256"]) == ("head.safetensors", "sha of head")
    assert (record["encoder_weights"], record["encoder_sha256"]) == ("encoder.safetensors", "sha of encoder")
    assert record["phenotypes"] == ["T", "B"]
    assert json.loads(record["model_options"]) == {"nuclear": "histone"}
    assert all(json.loads(record[name]) == [name] for name in names)
    assert "other" not in record
