"""``sfm.train.explain``: what each marker contributed to the answer of a model with B-cos blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .._errors import ModelError, TableError
from .._keys import TABLE
from .._public import public
from .._ranges import at_least
from .._storable import write_obsm, write_uns
from ..embed.call import CALL_FIELDS
from ..learn.heads.bcos import mean_shares
from ..models.adapter import HEAD, Adapter, read_adapter
from ..models.bcos_blocks import entering, explained
from ..models.registry import load
from .cell_objective import head_of
from .cells import CellEncoding, CellSample, CellWindows
from .tuning import FineTuning

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ..embed.call import Elements, Panel
    from ..learn.bcos import BcosLinear
    from ..models.encoder import Encoder
    from ..models.recipe import Recipe

BESIDE = "beside the markers"  # tokens of no marker: patch summaries of VirTues, CLS and registers of KRONOS
INTERCEPT = "intercept"


@public(fields=CALL_FIELDS)
def explain(
    sdata: SpatialData,
    model: str,
    adapter: str | PathLike,
    *,
    weights: str | PathLike | None = None,
    cells: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = TABLE,
    batch_size: Annotated[int, at_least(1)] = 32,
    key_added: str = "explained",
) -> pd.DataFrame:
    """Decompose the answer of a model with B-cos blocks: what the tokens of each marker contributed to it.

    For adapters of ``sfm.train.finetune(..., method="bcos")``. Its last blocks and what reads the label from them are a
    linear map whose weights depend on the window (Böhle et al., CVPR 2022). Held fixed, the map gives each token that
    enters these blocks its share of the logit, and the shares and the intercept add up to it. A share is exact from
    there on: tokens that enter the blocks are of one marker where all blocks of the model were converted
    (``blocks=`` as many as it has), and have seen the others in the blocks before otherwise. Tokens of no marker (patch
    summaries of VirTues, CLS and registers of KRONOS) are one column, ``"beside the markers"``.

    Parameters
    ----------
    sdata
        Images, labels and cell table, as in `spatialfm.train.finetune`.
    model
        Name of the model.
    adapter
        Folder that `spatialfm.train.finetune` wrote.
    weights
        Weights that it was trained on, as there.
    cells
        Names of cells (default: all that have pixels). Each is one window.
    samples
        Samples to use (default: all).
    panel
        Which channels are which markers, as in the training.
    recipe
        Fields that departed from the recipe on the model's card in the training.
    elements
        Images and labels, where their names do not follow from the samples.
    table_name
        Table of the cells.
    batch_size
        Windows at once.
    key_added
        Key that is written.

    Returns
    -------
    One row per cell: a column of each marker, ``"beside the markers"``, ``intercept``, the ``logit`` of the class that
    the cell is called, and that ``label``. Written into ``sdata[table_name]``, NaN for other cells: ``obs[key_added]``,
    ``obs[key_added + "_logit"]``, ``obsm[key_added + "_contribution"]``, and ``uns[key_added]`` with
    ``contributions``, the means over the cells of each class, and ``params``; :func:`spatialfm.pl.contributions` draws
    both.

    Raises
    ------
    ModelError
        If the adapter has no B-cos blocks, or predicts numbers.
    TableError
        If a cell is not among those with pixels.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.pp.cell_table(sdata)
    >>> table = sdata["table"]
    >>> table.obs["kind"] = ["T cell" if value > 250 else "other" for value in table[:, "CD3"].X.ravel()]
    >>> small = sfm.models.new_encoder("virtues", dim=32, depth=2, heads=2, decoder_depth=1)
    >>> how = {"recipe": {"window": 32}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     base = sfm.models.save_trained(small, folder + "/base", {"license": "MIT"}).parent
    ...     encoder = sfm.train.finetune(
    ...         sdata,
    ...         "virtues",
    ...         weights=base,
    ...         out=folder + "/kinds",
    ...         label_key="kind",
    ...         method="bcos",
    ...         markers=["CD3", "CD20"],
    ...         steps=2,
    ...         batch_size=4,
    ...         check_every=1,
    ...         **how,
    ...     )
    ...     shares = sfm.train.explain(sdata, "virtues", folder + "/kinds", weights=base, **how)
    >>> parts = shares[["beside the markers", "CD3", "CD20", "intercept"]].sum(axis=1)
    >>> np.allclose(parts, shares["logit"], atol=1e-5)
    True
    """
    read = read_adapter(adapter)
    _check(read)
    markers = list(read.card["markers"])
    tuning = FineTuning(
        sdata, model, weights=weights, markers=markers, samples=samples, outputs=read.card["output"], panel=panel,
        recipe=recipe, elements=elements, table_name=table_name,
    )  # fmt: skip
    encoder = load(model, weights=weights, adapter=adapter)
    plan = tuning.plan(encoder)
    rows = np.asarray(plan.cells.rows)
    if cells is not None:
        rows = _rows_of(cells, plan.table, rows)
    windows = CellWindows(plan, rows, np.full(len(rows), "any"), None)
    reads = _Reads(encoder, windows.encoding(), read)
    parts = [
        reads([windows.sample(i, np.random.default_rng(0), augment=False) for i in range(first, last)])
        for first, last in ((i, min(i + batch_size, len(rows))) for i in range(0, len(rows), batch_size))
    ]
    names = plan.table.obs_names[rows]
    shares = pd.DataFrame(np.concatenate([one[0] for one in parts]), index=names, columns=[BESIDE, *markers, INTERCEPT])
    logits, codes = (np.concatenate([one[place] for one in parts]) for place in (1, 2))
    classes = list(read.card["cells"]["classes"])
    labels = pd.Categorical.from_codes(codes, classes)
    table = sdata.tables[table_name]
    table.obs[key_added] = pd.Series(labels, index=names).reindex(table.obs_names)
    table.obs[f"{key_added}_logit"] = pd.Series(logits, index=names).reindex(table.obs_names)
    write_obsm(table, f"{key_added}_contribution", shares.reindex(table.obs_names))
    params = {"model": model, "adapter": read.source, "adapter_sha256": read.sha256, "n_cells": len(rows)}
    params |= {"bcos_blocks": int(read.card["bcos_blocks"]), "markers": markers}
    write_uns(table, key_added, {"contributions": mean_shares(shares, codes, classes), "params": params})
    return shares.assign(logit=logits, label=labels)


class _Reads:
    """Shares, logits and classes of windows."""

    def __init__(self, encoder: Encoder, encoding: CellEncoding, adapter: Adapter) -> None:
        head = {name.removeprefix(HEAD): one for name, one in adapter.tensors.items() if name.startswith(HEAD)}
        self.center, self.scale = head.pop("center"), head.pop("scale")
        self.head = head_of(adapter.card["parameters"]["head"], len(self.center), len(adapter.card["cells"]["classes"]))
        self.head.load_state_dict(head)
        self.head.requires_grad_(False)
        self.encoder, self.encoding = encoder, encoding
        self.first = encoder.transformer_blocks()[-int(adapter.card["bcos_blocks"]) :][0]

    def __call__(self, samples: Sequence[CellSample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with explained(self.encoder), entering(self.first) as entered, torch.enable_grad():
            values = (self.encoding(self.encoder, samples) - self.center) * self.scale
            weights, intercept = self._linear(values.detach())
            logits = torch.einsum("bcd,bd->bc", weights, values) + intercept
            codes = logits.argmax(1)[:, None]
            chosen = logits.gather(1, codes)[:, 0]
            (gradient,) = torch.autograd.grad(chosen.sum(), entered[0])
        shares = by_channel(gradient * entered[0].detach(), len(samples), samples[0].pixels.shape[0], self.encoder)
        # embeddings are taken less their mean, which a linear layer turns into a part of its intercept
        constant = (intercept - weights @ (self.center * self.scale)).gather(1, codes)
        whole, codes = torch.cat([shares, constant], dim=1), codes[:, 0]
        return whole.double().numpy(), chosen.detach().double().numpy(), codes.numpy()

    def _linear(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The map ``(B, classes, D)`` that the head is at each row, and its intercepts."""
        if isinstance(self.head, torch.nn.Linear):
            return self.head.weight.expand(len(values), -1, -1), self.head.bias
        units, scale = self.head.get_submodule("units"), self.head.get_parameter("log_scale").exp()
        return scale * cast("BcosLinear", units).weights(values), self.head.get_parameter("intercept")


def by_channel(shares: Tensor, n_windows: int, n_markers: int, encoder: Encoder) -> Tensor:
    """Shares of tokens summed up ``(windows, 1 + markers)``, those of no marker first.

    Parameters
    ----------
    shares
        ``(N, D)``, windows by channels by positions, the patch summaries first; or ``(B, L, D)``, tokens of no marker
        and then those of one marker after the other, of windows, or of markers of windows.
    n_windows, n_markers
        Numbers of both.
    encoder
        Whose blocks they entered.
    """
    summed = shares.sum(-1)
    if summed.ndim == 1:
        return summed.reshape(n_windows, 1 + n_markers, -1).sum(-1)
    prefix = int(getattr(encoder.get_submodule("backbone"), "n_prefix", 0))
    if len(summed) == n_windows:
        of_markers = summed[:, prefix:].reshape(n_windows, n_markers, -1).sum(-1)
        return torch.cat([summed[:, :prefix].sum(1, keepdim=True), of_markers], dim=1)
    of_markers = summed.sum(1).reshape(n_windows, n_markers)
    return torch.cat([torch.zeros(n_windows, 1), of_markers], dim=1)


def _check(adapter: Adapter) -> None:
    if not int(adapter.card.get("bcos_blocks", 0)):
        raise ModelError(
            f"Adapter {adapter.source!r} has no B-cos blocks, whose answer is a sum of shares. Train it with "
            "sfm.train.finetune(..., method='bcos')."
        )
    if not adapter.card["cells"]["classes"]:
        raise ModelError(
            f"Adapter {adapter.source!r} predicts numbers (targets=), and shares are of classes. Train it with "
            "label_key=."
        )


def _rows_of(cells: Sequence[str], table: AnnData, there: np.ndarray) -> np.ndarray:
    rows = table.obs_names.get_indexer(list(cells))
    if lost := [name for name, row in zip(cells, rows, strict=True) if row < 0 or row not in set(there.tolist())]:
        raise TableError(f"Cell {lost[0]!r} (cells=) is not among those with pixels in these images. Leave it out.")
    return rows
