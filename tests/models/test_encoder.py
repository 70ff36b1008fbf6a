"""What all encoders share: which outputs are asked for, and whether a user's own can be told."""

from __future__ import annotations

import pytest
import torch

from spatialfm._errors import ModelError
from spatialfm.models import Encoder, EncoderOutput, ModelCard
from spatialfm.models.encoder import takes_outputs
from spatialfm.models.preparation import Preparation, PreparedPixels
from spatialfm.models.recipe import Recipe
from spatialfm.models.virtues_pixels import RELEASED

CARD = ModelCard(
    name="own",
    family="example",
    title="Sum of a window",
    license="BSD-3-Clause",
    commercial=True,
    gated=False,
    reference="none",
    trained_on="nothing",
    outputs=("patch", "marker"),
)


class WithOutputs(Encoder):
    card = CARD

    def forward(self, pixels, markers=None, *, mask=None, outputs=None):
        wanted, marker = self.wanted(outputs), pixels.sum((-2, -1))
        return EncoderOutput(
            patch=marker.sum(1) if "patch" in wanted else None, marker=marker if "marker" in wanted else None
        )


class WithAny(WithOutputs):
    def forward(self, pixels, markers=None, **options):
        return super().forward(pixels, markers, **options)


class Without(WithOutputs):
    """As the page on models shows an encoder of one's own."""

    def forward(self, pixels, markers=None, *, mask=None):
        return super().forward(pixels, markers, mask=mask)


@pytest.mark.parametrize(("kind", "takes"), [(WithOutputs, True), (WithAny, True), (Without, False)])
def test_takes_outputs_tells_whether_the_call_would_go_through(kind, takes):
    encoder = kind()
    assert takes_outputs(encoder) is takes
    pixels = torch.ones(2, 3, 4, 4)
    if takes:
        out = encoder(pixels, outputs=("marker",))
        assert out.patch is None
        torch.testing.assert_close(out.marker, torch.full((2, 3), 16.0))
    else:
        with pytest.raises(TypeError, match="outputs"):
            encoder(pixels, outputs=("marker",))
        assert encoder(pixels).patch is not None


def test_wanted_is_all_by_default_and_what_is_named_otherwise():
    encoder = WithOutputs()
    assert encoder.wanted(None) == {"patch", "marker"}
    assert encoder.wanted(["marker"]) == {"marker"}
    assert encoder.wanted("marker") == {"marker"}
    assert encoder.wanted(()) == set()
    with pytest.raises(ModelError, match=r"'own' has no output 'token'; it has \('patch', 'marker'\)"):
        encoder.wanted(("patch", "token"))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 3, 8, 8), (2, 0, 8, 8), (2, 3, 0, 8), (2, 3, 8, 0)])
def test_pixels_of_other_axes_or_without_any_are_refused(shape):
    encoder = WithOutputs()
    encoder.check_pixels(torch.ones(0, 3, 8, 8))  # a batch of none has the axes
    with pytest.raises(ModelError, match="'own' takes pixels") as refused:
        encoder.check_pixels(torch.ones(shape))
    assert str(refused.value).endswith(f"(B, M, H, W), got {shape}.")


def test_windows_may_leave_the_image_unless_a_card_says_otherwise():
    assert CARD.pads is True


@pytest.mark.parametrize("normalization", ["marker statistics", "scale", "none"])
def test_pixels_are_normalised_marker_by_marker(normalization):
    """(pixel - mean) / (deviation + epsilon): deviations of 1.5 and 3.5 are 2 and 4 with it."""
    encoder, mean, std = WithOutputs(), torch.tensor([4.0, 2.0]), torch.tensor([1.5, 3.5])
    pixels = torch.tensor([[2.0, 3.0], [16.0, 6.0]])[..., None, None]
    recipe = CARD.recipe.replace(normalization=normalization, epsilon=0.5)
    expected = {
        "marker statistics": [[-1.0, 0.25], [6.0, 1.0]],
        "scale": [[1.0, 0.75], [8.0, 1.5]],
        "none": [[2.0, 3.0], [16.0, 6.0]],
    }
    found = encoder.normalize(pixels, mean, std, recipe)
    torch.testing.assert_close(found, torch.tensor(expected[normalization])[..., None, None])


def test_only_an_encoder_with_a_decoder_can_reconstruct():
    class Painter(WithOutputs):
        def reconstruct(self, pixels, markers, mask=None):
            return pixels

    assert Painter().can_reconstruct
    assert not WithOutputs().can_reconstruct


@pytest.mark.parametrize("normalization", ["marker statistics", "scale", "none"])
def test_denormalize_is_the_inverse_of_normalize(normalization):
    recipe = Recipe(normalization=normalization, epsilon=0.25)
    pixels, mean, std = torch.rand(2, 3, 4, 4), torch.tensor([0.1, 0.0, 2.0]), torch.tensor([0.5, 3.0, 0.01])
    encoder = WithOutputs()
    back = encoder.denormalize(encoder.normalize(pixels, mean, std, recipe), mean, std, recipe)
    torch.testing.assert_close(back, pixels)


def test_a_logarithm_is_undone_with_the_statistics():
    recipe = Recipe(normalization="marker statistics", preparation=RELEASED)
    intensities, mean, std = torch.tensor([0.0, 7.5, 300.0]), torch.tensor([1.5]), torch.tensor([0.7])
    seen = (intensities.log1p() - 1.5) / 0.7
    back = WithOutputs().denormalize(seen.reshape(1, 1, 1, 3), mean, std, recipe)
    torch.testing.assert_close(back.flatten(), intensities, rtol=1e-5, atol=1e-5)
    below = WithOutputs().denormalize(torch.full((1, 1, 1, 1), -5.0), mean, std, recipe)
    assert below.item() == 0  # an intensity is never negative


def test_what_cannot_be_undone_is_refused():
    class Own(WithOutputs):
        def normalize(self, pixels, mean, std):
            return pixels**2

    class Squares(Preparation):
        name = "squares"

        def prepare(self, reader, tissue, known=None):
            return PreparedPixels(reader)

    one = torch.ones(1)
    with pytest.raises(ModelError, match=r"own way.*space='standardised'"):
        Own().denormalize(torch.ones(1, 1, 1, 1), one, one)
    with pytest.raises(ModelError, match=r"'squares' does not say.*space='standardised'"):
        WithOutputs().denormalize(torch.ones(1, 1, 1, 1), one, one, Recipe(preparation=Squares()))
