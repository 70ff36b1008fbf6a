"""Decision curves are compared where they are of the same time and patients."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from spatialfm._errors import TableError
from spatialfm.pl._decision_curve import _check_alike, decision_curve


def record(horizon=12.0, n_scored=60, events=20):
    return {"params": {"horizon": horizon, "n_scored": n_scored, "events": events}}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (record(horizon=24.0), r"'a' is of the risk by 12, 'b' of that by 24\. .*horizon=12\)"),
        (record(n_scored=59), "'a' is of 60 patients with 20 events, 'b' of 59 with 20"),
        (record(events=21), "net benefits are compared on the same patients"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, message):
    with pytest.raises(TableError, match=message):
        _check_alike({"a": record(), "b": other})
    with pytest.raises(TableError, match=message.replace("'b'", "'c'")):
        _check_alike({"a": record(), "b": record(), "c": other})


def test_what_is_alike_is_not():
    _check_alike({"a": record()})
    _check_alike({"a": record(), "b": record(horizon=12)})


def test_no_key_at_all():
    with pytest.raises(TableError, match="keys= is empty"):
        decision_curve(ad.AnnData(np.zeros((2, 1))), [])
