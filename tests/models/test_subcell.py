"""SubCell against transformers' vision transformer and its pooling written out, under the published names."""

from __future__ import annotations

import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError, WeightsError
from spatialfm.models import hub
from spatialfm.models.checks import check_encoder
from spatialfm.models.encoder import Weights
from spatialfm.models.subcell import SUBCELL, SubCellEncoder, as_named_here, scaled
from spatialfm.models.vit import ViTConfig

SMALL = ViTConfig(
    dim=32, depth=2, heads=4, patch_size=16, grid=4, in_channels=2, layer_scale=False, mask_token=False, eps=1e-12,
    resize_offset=0.0,
)  # fmt: skip
NAMES = ["CD3", "DAPI", "CD8"]


@pytest.fixture(scope="module")
def published():
    """A small model of transformers, the tensors of a file as the release stores them, and its pooling."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, hidden_act="gelu",
        layer_norm_eps=1e-12, image_size=64, patch_size=16, num_channels=2, qkv_bias=True, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for one in model.parameters():
            one.normal_(0, 0.2)
    renamed = {f"encoder.{_release_name(name)}": one for name, one in model.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    pool = {
        f"pool_model.{name}": 0.3 * torch.randn(shape, generator=generator)
        for name, shape in {
            "attention_v.1.weight": (512, 32), "attention_v.1.bias": (512,), "attention_u.1.weight": (512, 32),
            "attention_u.1.bias": (512,), "attention.weight": (2, 512), "attention.bias": (2,),
        }.items()
    }  # fmt: skip
    return model, renamed | pool


def _release_name(name: str) -> str:
    """Names of the transformers version that the release was made with, whatever the installed one calls them."""
    replaced = {
        ".attention.q_proj.": ".attention.attention.query.", ".attention.k_proj.": ".attention.attention.key.",
        ".attention.v_proj.": ".attention.attention.value.", ".attention.o_proj.": ".attention.output.dense.",
        ".mlp.fc1.": ".intermediate.dense.", ".mlp.fc2.": ".output.dense.",
    }  # fmt: skip
    for new, old in replaced.items():
        name = name.replace(new, old)
    return name.replace("layers.", "encoder.layer.") if name.startswith("layers.") else name


def encoder_of(tensors, **options) -> SubCellEncoder:
    encoder = SubCellEncoder(SUBCELL, SMALL, **options)
    file = hub.WeightsFile("small.pth", "small")
    translated = as_named_here(tensors, file)
    expected = encoder.network.state_dict()
    assert set(translated) == set(expected)
    encoder.network.to_empty(device="cpu")
    encoder.network.load_state_dict(translated)
    encoder.weights = Weights("small.pth")
    return encoder.eval().requires_grad_(False)


def written_out(model, tensors, images):
    """What the release computes of nucleus and protein, each brought to 0 to 1."""
    low = images.flatten(2).min(2).values[..., None, None]
    high = images.flatten(2).max(2).values[..., None, None]
    tokens = model((images - low) / (high - low), interpolate_pos_encoding=True).last_hidden_state
    pool = {name.removeprefix("pool_model."): one for name, one in tensors.items() if name.startswith("pool_model.")}
    v = torch.tanh(tokens @ pool["attention_v.1.weight"].T + pool["attention_v.1.bias"])
    u = torch.nn.functional.gelu(tokens @ pool["attention_u.1.weight"].T + pool["attention_u.1.bias"])
    weights = ((v * u) @ pool["attention.weight"].T + pool["attention.bias"]).softmax(1)  # (N, L, heads)
    return torch.cat([(weights[..., [head]] * tokens).sum(1) for head in range(2)], dim=1)


@pytest.mark.parametrize("side", [64, 96])
def test_each_marker_is_the_protein_beside_the_nucleus(published, side):
    model, tensors = published
    encoder = encoder_of(tensors)
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    found = encoder(pixels, NAMES).marker
    with torch.no_grad():
        for place in range(3):
            expected = written_out(model, tensors, pixels[:, [1, place]])
            error = (found[:, place] - expected).norm() / expected.norm()
            assert error < 1e-5


def test_both_channels_can_share_one_range():
    images = torch.tensor([[[[0.0, 2.0]], [[1.0, 4.0]]]])
    torch.testing.assert_close(scaled(images, "channel"), torch.tensor([[[[0.0, 1.0]], [[0.0, 1.0]]]]))
    torch.testing.assert_close(scaled(images, "image"), images / 4, atol=1e-6, rtol=1e-5)
    assert not scaled(torch.ones(1, 2, 4, 4), "channel").any()  # nothing to see does not give NaN


def test_the_nucleus_is_found_or_named(published):
    encoder = encoder_of(published[1])
    pixels = torch.rand(1, 2, 64, 64)
    for names, place in ((["CD3", "Hoechst_1"], 1), (["DNA1", "CD3"], 0), (["H3K27me3", "Histone H3"], 1)):
        assert encoder._nucleus(names, 2) == place
    with pytest.raises(ModelError, match="none of 'CD3', 'CD8' is a stain of it by its name.*reference="):
        encoder(pixels, ["CD3", "CD8"])
    named = encoder_of(published[1], reference="CD8")
    assert named._nucleus(["CD3", "CD8"], 2) == 1
    with pytest.raises(ModelError, match="no channel 'CD8' \\(reference=\\) among"):
        named(pixels, ["CD3", "CD4"])
    with pytest.raises(ModelError, match="does not divide into patches of 16"):
        encoder(pixels[..., :50], ["CD3", "DAPI"])


def test_other_files_are_refused(published, tmp_path):
    file = hub.WeightsFile("other.pth", "other")
    four = {"encoder.embeddings.patch_embeddings.projection.weight": torch.zeros(8, 4, 16, 16)}
    with pytest.raises(WeightsError, match="takes 4 channels"):
        as_named_here(four, file)
    with pytest.raises(WeightsError, match="is in no repository.*czi-subcell-public"):
        sfm.models.load("subcell")
    torch.save(published[1], tmp_path / "small.pth")
    with pytest.raises(WeightsError, match="instead of|missing"):
        sfm.models.load("subcell", weights=tmp_path / "small.pth")


def test_it_passes_the_checks_of_encoders(published):
    encoder = encoder_of(published[1])
    from dataclasses import replace

    from spatialfm.models.recipe import Recipe

    n = sum(one.numel() for one in encoder.network.parameters())
    encoder.card = replace(SUBCELL, embedding_dim=64, parameters=n, recipe=Recipe(window=64, background="zero"))
    check_encoder(encoder)


def test_the_shape_of_the_release_has_the_parameters_that_its_card_states():
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):  # sizes of the release: ViT-B/16 of two channels at 448 pixels
        config = transformers.ViTConfig(image_size=448, num_channels=2)
        body = transformers.ViTModel(config, add_pooling_layer=False)
    pooling = 2 * (768 * 512 + 512) + 512 * 2 + 2  # of 512, two heads
    encoder = SubCellEncoder(SUBCELL)
    assert sum(one.numel() for one in encoder.network.parameters()) == SUBCELL.parameters
    assert sum(one.numel() for one in body.parameters()) + pooling == SUBCELL.parameters
