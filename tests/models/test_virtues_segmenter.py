"""VirTues' segmentation head against its published code, and the files that it is read from.

``virtues_head_layout.json``: names and shapes of ``VirtuesSegmentationHead(dim_out=5, num_celltypes=9)`` of
bunnelab/virtues c5b9eaa at the published sizes, without those of its encoder. ``virtues_head_values.json``: what its
``forward`` returned on the CPU in float32, over an encoder of width 64 with four blocks, for stand-in weights filled by
`fill`; at 16 pixels of each of two windows.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import spatialfm as sfm
from spatialfm._errors import ModelError, WeightsError
from spatialfm.models.encoder import Weights
from spatialfm.models.virtues import VirTuesEncoder
from spatialfm.models.virtues_blocks import VirTuesConfig
from spatialfm.models.virtues_segmenter import (
    HEAD_FILE,
    NO_ANSWER,
    PHENOTYPES,
    HeadShape,
    SegmentationHead,
    VirTuesSegmenter,
    load_segmenter,
)

HERE = Path(__file__).parent
LAYOUT = json.loads((HERE / "virtues_head_layout.json").read_text())
VALUES = json.loads((HERE / "virtues_head_values.json").read_text())
CONFIG = VirTuesConfig(dim=64, hidden=128, heads=4, encoder="hvhv", decoder="f")
SHAPE = HeadShape(dim=64, skip=(256, 128), bottom=312)  # the published code's for encoders narrower than 512
TINY = HeadShape(dim=64, skip=(8, 8), bottom=8, widths=(8, 8, 8))


def fill(name: str, shape) -> torch.Tensor:
    """Stand-in weights, seeded by their names, under which no layer explodes."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_var"):
        return torch.from_numpy(1 + 0.1 * np.abs(noise))
    if name.endswith(".weight"):
        scaled = 1 + 0.1 * noise if len(shape) == 1 else noise * 1.4 / np.sqrt(np.prod(shape[1:]))
        return torch.from_numpy(scaled.astype(np.float32))
    return torch.from_numpy(0.05 * noise)


def inputs(key: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32))


def filled(shape: HeadShape) -> dict[str, torch.Tensor]:
    return {name: fill(name, tensor.shape) for name, tensor in SegmentationHead(shape).state_dict().items()}


@pytest.fixture(scope="module")
def encoder() -> VirTuesEncoder:
    encoder = VirTuesEncoder(sfm.models.card("virtues"), CONFIG)
    state = encoder.backbone.state_dict()
    tensors = {name: fill(name, one.shape) if one.is_meta else one for name, one in state.items()}
    encoder.backbone.load_state_dict(tensors, assign=True)
    encoder.weights = Weights("stand-in")
    return encoder.eval().requires_grad_(False)


@pytest.fixture
def head_file(tmp_path) -> Path:
    save_file(filled(TINY), tmp_path / HEAD_FILE)
    return tmp_path / HEAD_FILE


def change(file: Path, **tensors: torch.Tensor | None) -> None:
    """The same file with tensors that are other, new or (None) missing."""
    both = filled(TINY) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file({name: tensor.clone() for name, tensor in both.items() if tensor is not None}, file)


# --- values of the published code ------------------------------------------------------------------------------------


def test_published_values(encoder, tmp_path):
    save_file(filled(SHAPE), tmp_path / HEAD_FILE)
    segmenter = load_segmenter(encoder, tmp_path)
    markers = inputs("marker_embeddings", 12, 640)[[1, 4, 7]]
    with torch.inference_mode():
        out = segmenter(inputs("head", 2, 3, 64, 64), markers).double().numpy()
    assert list(out.shape) == VALUES["shape"]
    expected = np.array(VALUES["pixels"])
    found = out[:, :, [3, 30, 63, 41], [5, 31, 62, 7]].transpose(0, 2, 1)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-5
    assert np.allclose(out.std((0, 2, 3)), VALUES["std"], rtol=1e-4)


def test_names_and_shapes_are_those_of_the_published_code():
    with torch.device("meta"):
        state = SegmentationHead(HeadShape()).state_dict()
    own = {name: list(tensor.shape) for name, tensor in state.items()}
    second = {name: shape for name, shape in LAYOUT.items() if name.startswith("instance_processor.")}
    assert own == {name: shape for name, shape in LAYOUT.items() if name not in second}
    assert {name.removeprefix("instance_processor."): shape for name, shape in second.items()} == {
        name: shape for name, shape in own.items() if name.startswith("pixel_classifier.")
    }


def test_tokens_are_those_after_each_quarter_of_the_blocks(encoder):
    pixels, markers = inputs("tokens", 1, 2, 32, 40), inputs("marker_embeddings", 12, 640)[:2]
    with torch.inference_mode():
        last, found = encoder.summaries(pixels, markers, (1, 2, 3, 4))
        tokens, grid = encoder.backbone.encoder.embed(*encoder._inputs(pixels, markers, None))
        x = grid.pack(tokens)
        for block, one in zip(encoder.backbone.encoder.blocks(), found, strict=True):
            x = block(x, grid)
            assert torch.allclose(grid.unpack(x)[:, 0].transpose(1, 2).unflatten(2, (4, 5)), one, atol=1e-5)
        summary = encoder(pixels, markers, outputs=("summary",)).summary
    assert torch.allclose(summary.permute(0, 3, 1, 2), last, atol=1e-5)
    assert VirTuesSegmenter(encoder, SegmentationHead(TINY), Weights("")).layers == (1, 2, 3, 4)


# --- what is made of logits -------------------------------------------------------------------------------------------


def test_probabilities_are_among_the_answers(encoder):
    segmenter = VirTuesSegmenter(encoder, SegmentationHead(TINY), Weights(""))
    assert len(segmenter.answers) == 7
    assert not set(segmenter.answers) & set(NO_ANSWER)
    logits = np.random.default_rng(0).normal(0, 2, (9, 4, 5))
    among, none = segmenter.probabilities(logits)
    every = np.exp(logits) / np.exp(logits).sum(0)
    kept = [place for place, name in enumerate(PHENOTYPES) if name not in NO_ANSWER]
    assert np.allclose(none, every[0] + every[7], atol=1e-6)
    assert np.allclose(among, every[kept] / every[kept].sum(0), atol=1e-6)


# --- files that do not fit --------------------------------------------------------------------------------------------


def test_sizes_are_read_from_the_file(encoder, head_file):
    segmenter = load_segmenter(encoder, head_file)
    assert segmenter.head.shape == TINY
    assert len(segmenter.head_weights.sha256) == 64
    assert not segmenter.training
    without = {n: t for n, t in filled(TINY).items() if not n.startswith("decoder_phenotypes.")}
    save_file(without, head_file)
    segmenter = load_segmenter(encoder, head_file.parent)
    assert (segmenter.head.shape.phenotypes, segmenter.answers, segmenter.objects) == (0, (), 5)


def test_the_classifier_may_have_either_name_and_both_if_they_agree(encoder, head_file):
    own = filled(TINY)
    twice = {f"instance_processor.{n}": t.clone() for n, t in own.items() if n.startswith("pixel_classifier.")}
    save_file(own | twice, head_file)
    load_segmenter(encoder, head_file)
    save_file({n: t for n, t in own.items() if not n.startswith("pixel_classifier.")} | twice, head_file)
    load_segmenter(encoder, head_file)
    twice["instance_processor.pixel_classifier.fc3.bias"] += 1
    save_file(own | twice, head_file)
    with pytest.raises(WeightsError, match=r"pixel_classifier\.fc3\.bias under two names, with different values"):
        load_segmenter(encoder, head_file)


def test_an_encoder_in_the_file_must_be_the_one_that_is_used(encoder, head_file):
    name, tensor = "encoder.patch_encoder.bias", encoder.backbone.state_dict()["encoder.patch_encoder.bias"]
    save_file(filled(TINY) | {f"virtues_model.{name}": tensor.clone()}, head_file)
    load_segmenter(encoder, head_file)
    save_file(filled(TINY) | {f"virtues_model.{name}": tensor + 1}, head_file)
    with pytest.raises(WeightsError, match=r"virtues_model\.encoder\.patch_encoder\.bias is not that of stand-in"):
        load_segmenter(encoder, head_file)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"decoder__decoder1__0__block__0__bias": None}, r"1 missing \(decoder\.decoder1\.0\.block\.0\.bias\)"),
        ({"decoder__decoder9__weight": torch.ones(1)}, r"1 unexpected \(decoder\.decoder9\.weight\)"),
        ({"decoder__decoder0__0__block__0__weight": None}, r"is not a head of VirTues: it does not have the tensor"),
        ({"pixel_classifier__fc1__weight": torch.ones(5)}, r"has with 1 axes instead of 2 the tensor"),
        ({"pixel_classifier__fc1__weight": torch.ones(5, 3)}, r"of another shape \(decoder\.decoder\.decoder0_header"),
    ],
)
def test_a_file_with_other_tensors_is_refused(encoder, head_file, tensors, message):
    change(head_file, **tensors)
    with pytest.raises(WeightsError, match=message):
        load_segmenter(encoder, head_file)


def test_encoder_head_and_names_must_fit(encoder, head_file, tmp_path):
    wide = VirTuesEncoder(sfm.models.card("virtues-sp32"))
    with pytest.raises(ModelError, match=r"takes tokens of width 64, and 'virtues-sp32' has tokens of width 512"):
        VirTuesSegmenter(wide, SegmentationHead(TINY), Weights(""))
    odd = VirTuesEncoder(sfm.models.card("virtues"), VirTuesConfig(dim=64, hidden=8, heads=4, encoder="hvh"))
    with pytest.raises(ModelError, match=r"has 3 blocks and patches of 8"):
        VirTuesSegmenter(odd, SegmentationHead(TINY), Weights(""))
    with pytest.raises(ModelError, match=r"has 9 phenotypes, and 2 are named"):
        load_segmenter(encoder, head_file, ["T cell", "B cell"])
    with pytest.raises(WeightsError, match=r"has no .*segmentation-head\.safetensors"):
        load_segmenter(encoder, sfm_folder(tmp_path))


def sfm_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder
