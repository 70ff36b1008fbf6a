"""Old names of arguments."""

from __future__ import annotations

import functools
import operator

import pytest

from spatialfm._renamed import FUNCTIONS, new_name


@pytest.mark.parametrize(
    ("function", "old", "known", "expected"),
    [
        ("cox", "cluster_key", ["patients", "se_cluster_key"], "se_cluster_key"),
        ("score_signatures", "cluster_key", ["adata", "cluster_key"], None),  # another function's old name
        ("annotate", "head", ["adata", "method"], "method"),
        ("evaluate_annotation", "head", ["adata", "heads"], "heads"),  # of each function its own
        ("annotate", "head", ["adata"], None),  # a name that the function has not got either
        ("kaplan_meier", "samples", ["adata", "group_key"], "adata"),
        ("kaplan_meier", "adata", ["patients", "samples"], "samples"),
        ("tissue_clusters", "tiles", ["adata"], "adata"),
        ("cox", "alpha", ["patients"], None),
    ],
)
def test_an_old_name_leads_to_the_one_that_the_function_has(function, old, known, expected):
    assert new_name(function, old, known) == expected


def test_a_function_of_another_name_leads_to_the_one_there_is():
    import spatialfm as sfm

    for old, now in FUNCTIONS.items():
        namespace, name = old.split(".")
        with pytest.raises(AttributeError, match=f"^sfm.{old} is now sfm.{now}.$"):
            getattr(getattr(sfm, namespace), name)
        assert functools.reduce(getattr, now.split("."), sfm)
    with pytest.raises(AttributeError, match="No spatialfm.pp attribute mended"):
        operator.attrgetter("mended")(sfm.pp)
