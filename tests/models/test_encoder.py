"""What all encoders share: which outputs are asked for, and whether a user's own can be told."""

from __future__ import annotations

import pytest
import torch

from spatialfm._errors import ModelError
from spatialfm.models import Encoder, EncoderOutput, ModelCard
from spatialfm.models.encoder import takes_outputs

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
