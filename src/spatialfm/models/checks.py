"""What holds for every encoder, checked on windows that are made here: for those of the package, and for anybody's."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._errors import ModelError
from .._public import public
from .card import OUTPUTS
from .encoder import Encoder, EncoderOutput, Weights, takes_outputs

if TYPE_CHECKING:
    import pandas as pd

MARKERS = ("DAPI", "CD3", "CD20")
N = 5  # windows
_LEADING = {"patch": (N,), "marker": (N, 3), "token": (N, 3), "summary": (N,), "attention": (N, 3)}
_AXES = {"patch": 2, "marker": 3, "token": 5, "summary": 4, "attention": 3}


@dataclass(frozen=True)
class Trial:
    """An encoder and what it is given: windows with a cell each, of another size and place, and zero around it."""

    encoder: Encoder
    pixels: Tensor  # (N, 3, side, side)
    mask: Tensor  # (N, side, side)
    markers: Tensor | list[str] | None

    @classmethod
    def of(cls, encoder: Encoder, random_state: int = 0) -> Trial:
        """Windows of the published side, of 64 pixels at the most."""
        generator = torch.Generator().manual_seed(random_state + 3)
        side = min(encoder.card.recipe.window or 40, 64)
        axis, radius = torch.arange(side), 4 + 2 * torch.arange(N)
        centre = side // 2 - 3 + torch.arange(N)
        inside = (axis[:, None] - centre[:, None, None]) ** 2 + 1.5 * (axis - side // 2) ** 2
        mask = inside < radius[:, None, None] ** 2
        pixels = torch.rand(N, len(MARKERS), side, side, generator=generator) * mask[:, None]
        return cls(encoder, pixels, mask, _markers(encoder, generator))

    def run(
        self,
        pixels: Tensor | None = None,
        mask: Tensor | None = None,
        markers: Tensor | list[str] | None = None,
        **options: Any,
    ) -> dict[str, Tensor]:
        """Outputs that are not None, of these windows or of others."""
        inputs = self.pixels if pixels is None else pixels, self.markers if markers is None else markers
        with torch.inference_mode():
            out = self.encoder(*inputs, mask=self.mask if mask is None else mask, **options)
        return _outputs(out)


def _markers(encoder: Encoder, generator: torch.Generator) -> Tensor | list[str] | None:
    if encoder.card.marker_vocabulary == "names":
        return list(MARKERS)
    if encoder.card.marker_vocabulary == "protein embedding":
        return torch.randn(len(MARKERS), getattr(encoder, "marker_dim", 0), generator=generator)
    if encoder.card.marker_vocabulary == "ids":
        highest = max(encoder.n_marker_ids, len(MARKERS)) - 1
        return torch.tensor([min(5, highest), 0, min(300, highest - 1)])
    return None


def _outputs(out: EncoderOutput) -> dict[str, Tensor]:
    if not isinstance(out, EncoderOutput):
        raise Broken(f"forward gives {type(out).__name__}; it must give an EncoderOutput")
    return {name: getattr(out, name) for name in OUTPUTS if getattr(out, name) is not None}


class Broken(Exception):
    """A check that an encoder does not pass; the text names the reason."""


def _same(one: Tensor, other: Tensor, what: str, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    if one.shape != other.shape:
        raise Broken(f"{what}: {tuple(one.shape)} instead of {tuple(other.shape)}")
    one = one.to(other.dtype)  # of what type outputs are is asked of float32 pixels, which the engine gives
    if not torch.allclose(one, other, rtol=rtol, atol=atol):
        raise Broken(f"{what}: differs by up to {(one - other).abs().max().item():.2g}")


def ready(trial: Trial) -> None:
    """In evaluation mode, without gradients; weights, options and marker ids are as on the card."""
    encoder = trial.encoder
    if encoder.training:
        raise Broken("it is in training mode; call .eval()")
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        raise Broken("parameters want gradients; call .requires_grad_(False)")
    if not (isinstance(getattr(encoder, "weights", None), Weights) and encoder.weights.source):
        raise Broken("weights does not state where they came from; set self.weights = Weights(...)")
    if (n := encoder.card.parameters) is not None and n != (has := sum(p.numel() for p in encoder.parameters())):
        raise Broken(f"it has {has:,} parameters, its card has {n:,}")
    if (encoder.n_marker_ids > 0) != (encoder.card.marker_vocabulary == "ids"):
        raise Broken(f"n_marker_ids is {encoder.n_marker_ids}, marker_vocabulary {encoder.card.marker_vocabulary!r}")
    if encoder.card.marker_vocabulary == "protein embedding" and not getattr(encoder, "marker_dim", 0):
        raise Broken("it takes protein embeddings, but marker_dim does not state their width")
    try:
        json.dumps(getattr(encoder, "options", None))
    except TypeError as error:
        raise Broken(f"options cannot be written into a record: {error}") from None
    if not isinstance(getattr(encoder, "options", None), dict):
        raise Broken("options must be a dict of what changes the numbers; set self.options = {...}")


def outputs_promised(trial: Trial) -> None:
    """Outputs are those of the card, of the shapes of `EncoderOutput`, float32, finite, and not all the same."""
    card, before = trial.encoder.card, trial.pixels.clone()
    out = trial.run()
    if not torch.equal(trial.pixels, before):
        raise Broken("it changes the pixels that it is given")
    if set(out) != set(card.outputs):
        raise Broken(f"it gives {tuple(out)}, its card promises {card.outputs}")
    columns = trial.encoder.feature_names(MARKERS)
    width = card.embedding_dim or (None if columns is None else len(columns))
    for name, value in out.items():
        if value.ndim != _AXES[name] or value.shape[: len(_LEADING[name])] != _LEADING[name]:
            raise Broken(f"{name} is {tuple(value.shape)} for {N} windows of 3 markers; see EncoderOutput")
        if name != "attention" and width is not None and value.shape[-1] != width:
            raise Broken(
                f"{name} has {value.shape[-1]} columns; the card's embedding_dim, or feature_names, state {width}"
            )
        if value.dtype != torch.float32:
            raise Broken(f"{name} is {value.dtype}; it must be torch.float32")
        if not value.isfinite().all():
            raise Broken(f"{name} is not finite")
        if not value.std() > 0:
            raise Broken(f"{name} is the same number everywhere")
    if columns is not None and len(set(columns)) < len(columns):
        raise Broken("feature_names gives one name twice")


def repeatable(trial: Trial) -> None:
    """The same windows give the same numbers."""
    first = trial.run()
    for name, value in trial.run().items():
        _same(value, first[name], f"{name} of a second call")


def batches(trial: Trial) -> None:
    """What comes of a window does not depend on the other windows of its batch."""
    together, order = trial.run(), [3, 0, 4]
    for name, value in trial.run(trial.pixels[order], trial.mask[order]).items():
        _same(value, together[name][order], f"{name} of windows in another batch")
    alone = [trial.run(trial.pixels[[i]], trial.mask[[i]]) for i in range(N)]
    for name, value in together.items():
        _same(torch.cat([one[name] for one in alone]), value, f"{name} of windows one by one")


def outputs_alone(trial: Trial) -> None:
    """An output that is asked for alone is the same; one that there is not is refused."""
    if not takes_outputs(trial.encoder):
        return
    together = trial.run()
    for name, value in together.items():
        alone = trial.run(outputs=(name,))
        if name not in alone:
            raise Broken(f"{name} is not given where it alone is asked for")
        _same(alone[name], value, f"{name} alone", 1e-6, 1e-6 * value.abs().max().item())
    try:
        trial.run(outputs=("cells",))
    except ModelError:
        return
    raise Broken("output 'cells' is not refused; forward must call self.wanted(outputs)")


def order_of_markers(trial: Trial) -> None:
    """Markers in another order only bring the output into that order."""
    order, first = [2, 0, 1], trial.run()
    markers: Any = trial.markers
    if markers is not None:
        markers = [markers[i] for i in order] if isinstance(markers, list) else markers[order]
    second = trial.run(trial.pixels[:, order], markers=markers)
    names = trial.encoder.feature_names(MARKERS)
    for name, value in second.items():
        expected = first[name]
        if name in ("marker", "token", "attention"):
            expected = expected[:, order]
        elif name == "patch" and names is not None:
            turned = trial.encoder.feature_names([MARKERS[i] for i in order])
            if turned is None or sorted(turned) != sorted(names):
                raise Broken("feature_names of markers in another order are other names")
            expected = expected[:, [names.index(one) for one in turned]]
        elif name == "patch" and trial.encoder.card.embedding_dim is None and not expected.shape[1] % len(MARKERS):
            expected = expected.reshape(N, len(MARKERS), -1)[:, order].reshape(N, -1)  # columns by marker
        _same(value, expected, f"{name} of markers in another order")


def odd_windows(trial: Trial) -> None:
    """Windows that are empty, constant, huge or negative, with cells of no pixel, of one, or of all, give no NaN."""
    side = trial.pixels.shape[-1]
    dot, line = torch.zeros(2, side, side, dtype=torch.bool)
    dot[0, -1], line[:, 3] = True, True
    masks = [torch.zeros_like(dot), dot, line, trial.mask[0], torch.ones_like(dot)]
    levels = [0.0, 1.0, 1e-30, 65535.0, -1e4]
    mask = torch.stack([one for one in masks for _ in levels])
    level = torch.tensor(levels).repeat(len(masks))[:, None, None, None]
    for name, value in trial.run(level.expand(-1, len(MARKERS), side, side), mask).items():
        if not value.isfinite().all():
            i = int((~value.flatten(1).isfinite().all(1)).nonzero()[0])
            what = ("none", "one", "a line", "some", "all")[i // len(levels)]
            raise Broken(
                f"{name} is not finite where all pixels are {levels[i % len(levels)]:g} and the cell has {what}"
            )


def one_marker(trial: Trial) -> None:
    """A panel of one marker is a panel."""
    markers = None if trial.markers is None else trial.markers[:1]
    for name, value in trial.run(trial.pixels[:, :1], markers=markers).items():
        if not value.isfinite().all():
            raise Broken(f"{name} of a single marker is not finite")


def layout_and_type(trial: Trial) -> None:
    """The layout of pixels in memory, and the types of pixels and mask, do not matter."""
    expected = trial.run()
    turned = trial.pixels.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for name, value in trial.run(turned).items():
        _same(value, expected[name], f"{name} of pixels in another memory layout")
    for name, value in trial.run(trial.pixels.double(), trial.mask.to(torch.uint8)).items():
        _same(value, expected[name], f"{name} of float64 pixels")


def travels(trial: Trial) -> None:
    """A copy that was pickled, as workers of a cluster get it, gives the same numbers."""
    import cloudpickle

    expected = trial.run()
    try:
        twin = pickle.loads(cloudpickle.dumps(trial.encoder))
        twin.load_state_dict(deepcopy(trial.encoder.state_dict()))
    except Exception as error:  # a foreign class may raise any error
        raise Broken(f"it cannot be sent to a worker: {type(error).__name__}: {error}") from None
    for name, value in Trial(twin, trial.pixels, trial.mask, trial.markers).run().items():
        _same(value, expected[name], f"{name} of a copy")


CHECKS: tuple[Callable[[Trial], None], ...] = (
    *(ready, outputs_promised, repeatable, batches, outputs_alone, order_of_markers, odd_windows, one_marker),
    *(layout_and_type, travels),
)


@public
def check_encoder(encoder: Encoder, *, raise_error: bool = True, random_state: int = 0) -> pd.DataFrame:
    """Check an encoder against what the engine relies on, as scikit-learn's ``check_estimator`` does for estimators.

    Each registered model of the package passes the same checks in its tests. No image is needed: windows are made here.

    Parameters
    ----------
    encoder
        The encoder, as `load` gives it.
    raise_error
        Whether a check that fails is an error; otherwise it is in the table.
    random_state
        Seed of the windows.

    Returns
    -------
    One row per check: its name, what it asks, whether it passed, and how it failed (``""`` where it did not).

    Raises
    ------
    ModelError
        If a check fails; the message has all that failed.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sfm.models.check_encoder(sfm.models.load("classical"))["passed"].all()
    np.True_
    """
    import pandas as pd

    trial, rows = Trial.of(encoder, random_state), []
    for check in CHECKS:
        try:
            check(trial)
            failure = ""
        except Broken as error:
            failure = str(error)
        except Exception as error:  # any error of the encoder: this check has failed, others may pass
            failure = f"{type(error).__name__}: {error}"
        rows.append((check.__name__, inspect.getdoc(check), not failure, failure))
    table = pd.DataFrame(rows, columns=["check", "what", "passed", "failure"]).set_index("check")
    failed = table[~table["passed"]]
    if raise_error and len(failed):
        failures = "; ".join(f"{name}: {failure}" for name, failure in failed["failure"].items())
        raise ModelError(f"Encoder {encoder.card.name!r} fails {len(failed)} of {len(table)} checks. {failures}.")
    return table
