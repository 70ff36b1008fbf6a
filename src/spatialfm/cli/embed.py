"""``spatialfm embed``: every cell through an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._errors import SpatialfmError
from .._keys import TABLE, UNS, image_name
from ._analysis import STAGES, Analysis, EarlierNames
from ._config import Draft, named_markers
from ._stage import Done, Stage
from ._without_images import NO_IMAGES, is_table_only, said_for_images
from .read import channels_of, samples_of

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..models.card import ModelCard


BLOCKS = f"{STAGES}/embed_blocks"  # what the model made of each image, for a cohort that grows


def embed(
    analysis: Analysis,
    *,
    model: str = "classical",
    weights: str | PathLike | None = None,
    adapter: str | PathLike | None = None,
    markers: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None,
    devices: str | Sequence[str] | None = None,
    batch_size: int | None = None,
    precision: Literal["float32", "float16", "bfloat16"] = "float32",
    n_components: int | None = None,
    recipe: Mapping[str, Any] | None = None,
    panel: Mapping[str, Any] | None = None,
) -> Done:
    """Embed every cell with a model. Stopped on the way, it goes on with the blocks that are not finished.

    Without images there is nothing that a model could look at; the stage is then left out.

    Parameters
    ----------
    model
        Name of a model, see 'spatialfm models'.
    weights
        Weights of the model: file, folder or hub id.
    adapter
        Folder that fine-tuning wrote: the model is used with what it learned there.
    markers
        Markers to use, in this order. Default: all that every sample has.
    outputs
        Outputs of the model. Default: what its card says.
    devices
        Torch device, or several, such as cuda:0.
    batch_size
        Windows of a batch. Default: what fits into memory.
    precision
        "float32", "float16" (stored in half the space) or "bfloat16" (computed so).
    n_components
        Principal components to keep. Default: all columns.
    recipe
        Fields in which to depart from the model's published recipe, such as {window: 64}.
    panel
        Which channels are which markers, such as {mapping: {Target 7: CD3}}.
    """
    from ..embed.made_of import told
    from ..tl import embed_cells

    sdata = analysis.whole("segment")
    before = EarlierNames(sdata[TABLE])
    if is_table_only(sdata):
        analysis.add_to_cells("embed", sdata[TABLE], before)
        return Done([f"left out: {NO_IMAGES}, and models look at images"])
    call = arguments(analysis.settings("embed"))
    kept = analysis.out / BLOCKS
    call["run"] = {**(call["run"] or {}), "keep": kept, "resume": "embed" not in analysis.redo}
    said = told(kept)
    embed_cells(sdata, **call)
    table = sdata[TABLE]
    added = [name for name in table.obsm if name not in before.obsm]
    analysis.add_to_cells("embed", table, before)
    record: dict[str, Any] = next((table.uns[UNS][name] for name in added if name in table.uns[UNS]), {})
    return Done(
        [f"obsm[{name!r}]: {table.n_obs:,} cells x {table.obsm[name].shape[1]:,} columns" for name in added]
        + ([f"licence of the model: {record['license']}"] if record.get("license") else [])
        + [text for when, text in told(kept).items() if when not in said]
    )


def arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as `spatialfm.tl.embed_cells` and `spatialfm.tl.plan_embedding` take them."""
    run = {name: settings[name] for name in ("devices", "batch_size", "precision") if settings[name] is not None}
    return {
        "model": settings["model"],
        "weights": settings["weights"],
        "adapter": settings["adapter"],
        "markers": settings["markers"],
        "outputs": settings["outputs"],
        "recipe": settings["recipe"],
        "panel": settings["panel"],
        "run": run or None,
        "reduce": {"n_components": settings["n_components"]} if settings["n_components"] else None,
    }


def _check(draft: Draft) -> None:
    from ..embed.call import Panel
    from ..models import card, load

    settings = draft.settings("embed")
    try:
        known = card(settings["model"])
    except SpatialfmError as error:
        draft.problem(("embed", "model"), str(error))
        return
    for key, make in (("recipe", known.recipe.replace), ("panel", Panel().replace)):
        try:
            make(**(settings[key] or {}))
        except (SpatialfmError, TypeError) as error:
            draft.problem(("embed", key), str(error))
    if settings["adapter"] is not None:
        _check_adapter(draft, settings, known)
    weights = settings["weights"]
    if weights is None:
        return
    if not Path(weights).exists() and _is_path(weights):
        draft.problem(("embed", "weights"), f"there is no file {weights!r}.")
    elif Path(weights).exists() or not known.needs_weights:
        try:  # weights of another model, or for a model that has none: seen now, not after hours
            load(settings["model"], weights=weights)
        except (SpatialfmError, TypeError) as error:
            draft.problem(("embed", "weights"), str(error))


def _check_adapter(draft: Draft, settings: Mapping[str, Any], card: ModelCard) -> None:
    from ..models.adapter import check_model, read_adapter

    try:
        check_model(read_adapter(settings["adapter"]), card, {})
    except SpatialfmError as error:
        draft.problem(("embed", "adapter"), str(error))


def _is_path(weights: str) -> bool:
    return weights.startswith((".", "/", "~")) or weights.endswith((".pt", ".pth", ".bin", ".safetensors", ".ckpt"))


def _before(settings: Mapping[str, Any], sdata: SpatialData) -> list[str]:
    from ..models import card, load
    from ..pp.arrays import channel_names

    if is_table_only(sdata):
        return said_for_images("embed", settings, STAGE.settings({}))
    problems = named_markers("embed.markers", settings["markers"] or (), channels_of(sdata))
    if not samples_of(sdata):
        problems.append("embed: there are no images, and models look at images. Name them in the cohort table.")
    elif not set.intersection(*(set(channel_names(sdata, image_name(name))) for name in samples_of(sdata))):
        problems.append("embed.markers: no channel is in every sample; name the channels alike (read.channel_names).")
    weights = settings["weights"]
    in_a_file = weights is not None and Path(weights).exists()  # which `_check` has loaded
    if card(settings["model"]).needs_weights and not in_a_file:
        try:  # a gate of the hub, or no connection
            load(settings["model"], weights=weights, adapter=settings["adapter"])
        except SpatialfmError as error:
            problems.append(f"embed.weights: {error}")
    return problems


STAGE = Stage(
    name="embed",
    summary="every cell through an encoder",
    example="spatialfm embed results --model classical",
    run=embed,
    needs=("segment",),
    check=_check,
    before=_before,
)
