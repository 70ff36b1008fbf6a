"""KRONOS against what its published code returned for the same stand-in weights and inputs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError
from spatialfm.models import MarkerEntry
from spatialfm.models.kronos import _CONFIGS, KronosEncoder, read_marker_metadata, sinusoidal_markers

VALUES = json.loads((Path(__file__).parent / "kronos_values.json").read_text())
LAYOUTS = {"kronos": "kronos_vits16.json", "kronos-large": "kronos_vitl16.json"}


def relative_error(out: torch.Tensor, expected) -> float:
    expected = np.asarray(expected, dtype=np.float64)
    return float(np.linalg.norm(out.double().numpy() - expected) / np.linalg.norm(expected))


def layout(name: str) -> dict[str, list[int]]:
    backbone = KronosEncoder(sfm.models.card(name), _CONFIGS[name]).backbone
    return {key: list(tensor.shape) for key, tensor in backbone.state_dict().items()}


@pytest.fixture(scope="module")
def encoders(kronos_file):
    load = sfm.models.load
    return {
        "released": load("kronos", weights=kronos_file),
        "overlap": load("kronos", weights=kronos_file, token_overlap=True),
        "all": load("kronos", weights=kronos_file, blocks="all"),
    }


def run(encoders, standin, case: str, meta: dict, which: str | None = None):
    pixels = torch.from_numpy(standin.synthetic_input(case, meta["batch"], meta["markers"], *[meta["size"]] * 2))
    encoder = encoders[which or ("overlap" if meta["token_overlap"] else "released")]
    with torch.inference_mode():
        return encoder(pixels, torch.tensor(meta["marker_ids"])), pixels


# --- values of the published code, a few numbers of each kept here ---------------------------------------------------


@pytest.mark.parametrize("case", list(VALUES))
def test_published_values(encoders, standin, case):
    meta = VALUES[case]
    out, _ = run(encoders, standin, case, meta)
    n = (meta["size"] - 16) // (8 if meta["token_overlap"] else 16) + 1
    assert out.token.shape == (meta["batch"], meta["markers"], n, n, 384)
    assert relative_error(out.patch[-1, :8], meta["patch"]) < 1e-5
    assert relative_error(out.marker[-1, -1, :8], meta["marker"]) < 1e-5
    assert relative_error(out.token[-1, -1, -1, 0, :8], meta["token"]) < 1e-5


def test_published_values_of_all_blocks_and_attention(encoders, standin):
    meta = VALUES["k64"]
    out, pixels = run(encoders, standin, "k64", meta, "all")
    assert relative_error(out.patch[-1, :8], meta["all_patch"]) < 1e-5
    assert relative_error(out.marker[-1, -1, :8], meta["all_marker"]) < 1e-5
    attention = encoders["released"].attention(pixels, meta["marker_ids"])
    assert attention.shape == (2, 6, 3, 4, 4)
    assert relative_error(attention[-1, -1, -1].flatten()[:8], meta["cls_attention"]) < 1e-5


def test_attention_of_a_marker_is_the_sum_over_its_tokens(encoders, standin):
    meta = VALUES["k64"]
    out, pixels = run(encoders, standin, "k64", meta)
    ids = torch.tensor(meta["marker_ids"])
    assert out.attention.shape == (2, 3, 6)
    tokens = encoders["released"].attention(pixels, ids)  # compared with published values above
    torch.testing.assert_close(out.attention, tokens.sum((-2, -1)).transpose(1, 2))
    with torch.inference_mode():
        for asked in (("attention",), ("attention", "patch"), ("attention", "marker")):
            some = encoders["released"](pixels, ids, outputs=asked)
            torch.testing.assert_close(some.attention, out.attention, rtol=1e-6, atol=1e-7)
            assert (some.patch is None) == ("patch" not in asked)
            assert (some.marker is None) == ("marker" not in asked)


# --- all of them, where the reference folder is ----------------------------------------------------------------------


@pytest.mark.goldens
@pytest.mark.parametrize("case", ["k64", "k64o", "k224", "k256", "k32"])
def test_goldens(encoders, standin, reference, case):
    goldens = np.load(reference / "goldens" / "kronos.npz")
    meta = json.loads(str(goldens[f"{case}/meta"]))
    out, _ = run(encoders, standin, case, meta)
    for output in ("patch", "marker", "token"):
        assert relative_error(getattr(out, output), goldens[f"{case}/{output}"]) < 1e-5, output


@pytest.mark.goldens
def test_goldens_of_attention_and_all_blocks(encoders, standin, reference):
    goldens = np.load(reference / "goldens" / "kronos.npz")
    out, pixels = run(encoders, standin, "k64", VALUES["k64"], "all")
    assert relative_error(out.patch, goldens["k64/all_blocks/patch"]) < 1e-5
    assert relative_error(out.marker, goldens["k64/all_blocks/marker"]) < 1e-5
    attention = encoders["released"].attention(pixels, VALUES["k64"]["marker_ids"])
    assert relative_error(attention, goldens["k64/cls_attention"]) < 1e-5
    out, _ = run(encoders, standin, "k64", VALUES["k64"])
    of_markers = goldens["k64/cls_attention"].sum((-2, -1)).swapaxes(1, 2)
    assert relative_error(out.attention, of_markers) < 1e-5


@pytest.mark.goldens
@pytest.mark.parametrize("name", list(LAYOUTS))
def test_names_and_shapes_are_those_of_the_published_checkpoint(reference, name):
    published = json.loads((reference / "layouts" / LAYOUTS[name]).read_text())
    assert layout(name) == published
    assert list(layout(name)) == list(published)


@pytest.mark.parametrize(("name", "tensors", "executed"), [("kronos", 176, (0, 3, 6, 9)), ("kronos-large", 344, None)])
def test_size(name, tensors, executed):
    assert len(layout(name)) == tensors
    assert sum(int(np.prod(shape)) for shape in layout(name).values()) == sfm.models.card(name).parameters
    encoder = KronosEncoder(sfm.models.card(name), _CONFIGS[name])
    assert encoder.executed == (executed or (0, 6, 12, 18))
    everything = KronosEncoder(sfm.models.card(name), _CONFIGS[name], blocks="all").executed
    assert everything == tuple(range(12 if name == "kronos" else 24))


# --- the paper's formulas --------------------------------------------------------------------------------------------


def test_marker_encoding_is_equation_2():
    table, dim = sinusoidal_markers(384), 384
    assert table.shape == (512, 384)
    for j, d in [(0, 0), (1, 0), (17, 5), (511, 191), (300, 80)]:
        angle = j / 10000 ** (2 * d / dim)
        np.testing.assert_allclose(table[j, [d, d + dim // 2]], [np.sin(angle), np.cos(angle)], atol=1e-6)


def test_marker_is_the_mean_token_and_blocks_run_are_the_first_of_each_chunk(encoders, standin):
    out, pixels = run(encoders, standin, "k64", VALUES["k64"])
    torch.testing.assert_close(out.marker, out.token.mean((2, 3)))
    encoder, ids = encoders["released"], VALUES["k64"]["marker_ids"]
    x, grid = encoder._tokens(pixels, ids)
    for chunk, block in ((0, 0), (1, 3), (2, 6), (3, 9)):
        x = encoder.backbone.blocks[str(chunk)][str(block)](x)
    x = encoder.backbone.norm(x)
    torch.testing.assert_close(out.patch, x[:, 0])
    torch.testing.assert_close(out.token[:, 1], x[:, 17 + 16 : 17 + 32].unflatten(1, grid))


@pytest.mark.parametrize("outputs", [("patch",), ("marker",), ("token",), ("patch", "token")])
def test_only_what_is_needed(encoders, standin, outputs):
    out, pixels = run(encoders, standin, "k64", VALUES["k64"])
    part = encoders["released"](pixels, VALUES["k64"]["marker_ids"], outputs=outputs)
    for output in ("patch", "marker", "token"):
        if output in outputs:
            torch.testing.assert_close(getattr(part, output), getattr(out, output), rtol=1e-5, atol=1e-5)
        else:
            assert getattr(part, output) is None


def test_one_marker_more_leaves_room_for_any_number(encoders):
    out = encoders["released"](torch.zeros(1, 1, 64, 64), [3])
    assert out.marker.shape == (1, 1, 384)
    out = encoders["released"](torch.zeros(1, 60, 32, 32), range(60))
    assert out.marker.shape == (1, 60, 384)


def test_windows_need_not_be_square(encoders):
    assert encoders["released"](torch.zeros(1, 2, 32, 80), [3, 4]).token.shape == (1, 2, 2, 5, 384)


def test_normalization_is_the_papers(encoders):
    pixels = torch.rand(2, 3, 4, 4)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 4.0])
    out = encoders["released"].normalize(pixels, mean, std)
    torch.testing.assert_close(out[:, 2], (pixels[:, 2] - 0.3) / 4)


def test_options_are_recorded(encoders):
    assert encoders["overlap"].options == {"token_overlap": True, "blocks": "released"}
    assert encoders["all"].options == {"token_overlap": False, "blocks": "all"}


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markers", "message"),
    [
        (None, r"needs a marker id for each channel: pass markers=\(M,\)"),
        ([1, 2], r"one integer marker id for each of 3 channels, got \(2,\)"),
        ([[1, 2, 3]] * 2, r"got \(2, 3\)"),
        ([1.0, 2.0, 3.0], "of torch.float32"),
        ([True, False, True], "of torch.bool"),
        ([1, 2, 512], "ids 0 to 511, got 512"),
        ([-1, 2, 5], "ids 0 to 511, got -1"),
    ],
)
def test_ids_are_checked(encoders, markers, message):
    with pytest.raises(ModelError, match=message):
        encoders["released"](torch.zeros(1, 3, 64, 64), markers)


def test_pixels_are_checked(encoders):
    with pytest.raises(ModelError, match=r"takes pixels \(B, M, H, W\), got \(3, 64, 64\)"):
        encoders["released"](torch.zeros(3, 64, 64), [1, 2, 3])
    with pytest.raises(ModelError, match=r"60 x 64 pixels does not divide .* sides of 48 or 64 pixels do"):
        encoders["released"](torch.zeros(1, 1, 60, 64), [1])
    with pytest.raises(ModelError, match=r"no output 'summary'; it has \('patch', 'marker', 'token', 'attention'\)"):
        encoders["released"](torch.zeros(1, 1, 64, 64), [1], outputs=("summary",))


def test_blocks_are_checked():
    with pytest.raises(ArgumentError, match="blocks must be 'released' or 'all'"):
        sfm.models.load("kronos", weights="random", blocks="first")


# --- marker table ----------------------------------------------------------------------------------------------------

GOOD = "marker_name,marker_id,marker_mean,marker_std\nDAPI,3,0.1,0.25\nCD3,0,0.02,0.5\n"


def test_marker_table_beside_the_weights(kronos_file, tmp_path):
    (tmp_path / kronos_file.name).symlink_to(kronos_file)
    (tmp_path / "marker_metadata.csv").write_text(GOOD)
    expected = (MarkerEntry("DAPI", 3, 0.1, 0.25), MarkerEntry("CD3", 0, 0.02, 0.5))
    assert sfm.models.load("kronos", weights=tmp_path).vocabulary == expected
    assert sfm.models.load("kronos", weights=tmp_path / kronos_file.name).vocabulary == expected


def test_marker_table_named_by_the_user(tmp_path):
    (tmp_path / "table.csv").write_text(
        "\ufeff marker_std, marker_mean, note, marker_id, marker_name\n1, 0, x, 7, CD8\n"
    )
    encoder = sfm.models.load("kronos", weights="random", marker_metadata=tmp_path / "table.csv")
    assert encoder.vocabulary == (MarkerEntry("CD8", 7, 0.0, 1.0),)
    with pytest.raises(ModelError, match=r"No marker table .*missing.csv. Pass marker_metadata="):
        sfm.models.load("kronos", weights="random", marker_metadata=tmp_path / "missing.csv")


def test_no_marker_table_is_said(caplog):
    with caplog.at_level(logging.INFO, "spatialfm"):
        assert sfm.models.load("kronos", weights="random").vocabulary == ()
    assert "no marker_metadata.csv next to the weights" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'marker_name'; found none"),
        (GOOD.replace("marker_std", "sd"), "no column 'marker_std'; found marker_name, marker_id, marker_mean, sd"),
        (GOOD.splitlines()[0] + "\n", "has no rows"),
        (GOOD + "DAPI,5,0,1\n", "line 4: name 'DAPI' comes twice"),
        (GOOD + "CD4,3,0,1\n", "line 4: id 3 of 'DAPI' comes twice"),
        (GOOD + "CD4,512,0,1\n", "line 4: id 512 of marker 'CD4' is out of range; ids run from 0 to 511"),
        (GOOD + "CD4,-1,0,1\n", "line 4: id -1 of marker 'CD4' is out of range"),
        (GOOD + "CD4,9,0,0\n", "line 4: marker 'CD4' has mean 0 and standard deviation 0"),
        (GOOD + "CD4,9,nan,1\n", "line 4: marker 'CD4' has mean nan"),
        (GOOD + "CD4,9,0,-2\n", "standard deviation -2"),
        (GOOD + "CD4,nine,0,1\n", "line 4: an id or a statistic of marker 'CD4' is not a number"),
        (GOOD + "CD4,9\n", "line 4: an id or a statistic of marker 'CD4' is not a number"),
        (GOOD + ",9,0,1\n", "line 4: the marker has no name"),
    ],
)
def test_bad_marker_tables(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ModelError, match="bad.csv") as caught:
        read_marker_metadata(tmp_path / "bad.csv")
    assert message in str(caught.value)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained() -> KronosEncoder:
    encoder = sfm.models.new_encoder("kronos", dim=12, depth=4, heads=2, grid=3)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder


def test_windows_may_have_their_own_markers(trained):
    pixels, ids = torch.randn(2, 3, 32, 32), torch.tensor([[0, 5, 9], [7, 1, 0]])
    both = trained(pixels, ids)
    for row in range(2):
        alone = trained(pixels[row : row + 1], ids[row])
        torch.testing.assert_close(both.token[row : row + 1], alone.token)
    with pytest.raises(ModelError, match=r"3 channels, got \(3, 3\)"):
        trained(pixels, torch.zeros(3, 3, dtype=torch.long))


def test_features_are_those_of_all_blocks(trained):
    pixels, ids = torch.randn(2, 3, 32, 32), torch.tensor([0, 5, 9])
    out, features = trained(pixels, ids), trained.features(pixels, ids)
    torch.testing.assert_close(features.cls, out.patch)
    torch.testing.assert_close(features.tokens, out.token.flatten(1, 3))
    trained.executed = (0, 1)  # what inference runs
    torch.testing.assert_close(trained.features(pixels, ids).cls, out.patch)


def test_hidden_positions_are_hidden_in_all_markers(trained):
    pixels, ids = torch.randn(1, 3, 32, 32), torch.tensor([0, 5, 9])
    hidden = torch.tensor([[True, False, False, True]])
    features = trained.features(pixels, ids, hidden=hidden)
    assert features.hidden.tolist() == [[True, False, False, True] * 3]
    other = pixels.clone()
    other[..., :16, :16] = 7
    other[..., 16:, 16:] = -3
    torch.testing.assert_close(trained.features(other, ids, hidden=hidden).tokens, features.tokens)
    other[..., :16, 16:] = 1
    assert (trained.features(other, ids, hidden=hidden).tokens - features.tokens).abs().max() > 1e-3
