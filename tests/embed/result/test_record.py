"""Records hold what a store takes, and come back as they were."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad

from spatialfm.embed.result.record import basis_key, make_record, write_record


def test_values_are_text_and_numbers():
    record = make_record(a=None, b=True, c=np.float32(0.5), d=[1, 2], e={"x": np.array([1.5])}, f="text", g=())
    assert [record[name] for name in "abcdfg"] == ["", 1, 0.5, "[1, 2]", "text", "[]"]
    assert json.loads(record["e"]) == {"x": [1.5]}
    assert set(json.loads(record["versions"])) >= {"spatialfm", "python", "torch", "numpy"}


def test_a_new_record_takes_the_basis_of_the_old_away_and_a_store_keeps_it(tmp_path):
    adata = AnnData(obs=pd.DataFrame(index=["1"]))
    write_record(adata, "X_e", make_record(n=1, names=["a", "b"]))
    adata.uns["spatialfm"][basis_key("X_e")] = {"mean": np.zeros(2)}
    adata.uns["spatialfm"][basis_key("X_f")] = {"mean": np.zeros(2)}
    write_record(adata, "X_e", make_record(n=2, names=[]))
    assert set(adata.uns["spatialfm"]) == {"X_e", basis_key("X_f")}
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = read_h5ad(tmp_path / "a.h5ad").uns["spatialfm"]["X_e"]
    assert (again["n"], again["names"]) == (2, "[]")
