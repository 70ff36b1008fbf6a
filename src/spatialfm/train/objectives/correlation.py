"""Pearson correlations of which batches and processes each see a part."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from .objective import Term

PREFIX = "moment"
_POWERS = {"x": (1, 0), "y": (0, 1), "xx": (2, 0), "yy": (0, 2), "xy": (1, 1)}


def moments(name: str, x: Tensor, y: Tensor) -> dict[str, Term]:
    """Sums of two series as terms without weight in a loss; `correlations` makes one number of their means."""
    x, y = x.detach().double().flatten(), y.detach().double().flatten()
    return {f"{PREFIX}/{name}/{key}": Term((x**i * y**j).sum(), x.numel(), 0.0) for key, (i, j) in _POWERS.items()}


def added(one: Mapping[str, Term], other: Mapping[str, Term]) -> dict[str, Term]:
    """Terms of two parts of a batch as those of both.

    Examples
    --------
    >>> import torch
    >>> both = added({"a": Term(torch.tensor(1.0), 2)}, {"a": Term(torch.tensor(2.0), 1), "b": Term(torch.ones(()), 1)})
    >>> both["a"].total.item(), both["a"].count, both["b"].count
    (3.0, 3, 1)
    """
    out = dict(one)
    for name, term in other.items():
        known = out.get(name)
        out[name] = term if known is None else Term(known.total + term.total, known.count + term.count, term.weight)
    return out


def correlations(means: Mapping[str, float]) -> dict[str, float]:
    """Pearson correlation of each pair of series among the means; none where a series does not vary.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([0.0, 1.0, 2.0])
    >>> terms = added(moments("up", x, 2 * x + 1), moments("flat", x, 0 * x))
    >>> result = correlations({name: term.total.item() / term.count for name, term in terms.items()})
    >>> list(result), round(result["up"], 6)
    (['up'], 1.0)
    """
    by_key = {}
    for key, x in means.items():
        if not (key.startswith(f"{PREFIX}/") and key.endswith("/x")):
            continue
        stem = key.removesuffix("/x")
        y, xx, yy, xy = (means[f"{stem}/{power}"] for power in ("y", "xx", "yy", "xy"))
        variances = (xx - x * x) * (yy - y * y)
        tiny = 1e-12 * max(xx, 1e-300) * max(yy, 1e-300)  # what rounding leaves of a constant
        if variances > tiny:
            by_key[stem.removeprefix(f"{PREFIX}/")] = (xy - x * y) / math.sqrt(variances)
    return by_key
