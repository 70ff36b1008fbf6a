"""What stands once: an estimate that two files compute has two answers as soon as one of them is corrected."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "spatialfm"

# call -> the files that may make it
CALLS = {
    "cumprod": {"stats/risk_table.py"},  # Kaplan-Meier, of events, of censoring and of entry
    "KaplanMeierFitter": {"tl/survival/kaplan_meier.py"},
    "CoxPHFitter": {"stats/cox.py"},
    "RiskSets": {
        "stats/cox.py",
        "stats/cox_scores.py",
        "stats/adjusted_logrank.py",
    },  # sums over risk sets, of Cox's model
    "tied_ranks": {"stats/concordance.py", "stats/survival_scores.py"},
    "concordance_index_censored": set(),
    "concordance_index": set(),
    "roc_auc_score": set(),
    # whether two embeddings were made alike, and the model of cells in context, which knows no tables
    "first_difference": {"cohort/comparability.py", "models/context.py", "tl/retrieval/search.py"},
}


def calls(source: str) -> set[str]:
    """Last names of all functions that are called."""
    found = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {one.attr if isinstance(one, ast.Attribute) else ast.unparse(one).split(".")[-1] for one in found}


def _plus_one(node: ast.expr) -> bool:
    while isinstance(node, ast.Call) and node.args:
        node = node.args[0]
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add)
        and any(isinstance(side, ast.Constant) and side.value == 1 for side in (node.left, node.right))
    )


def permutation_p_values(source: str) -> list[str]:
    """Expressions ``(1 + hits) / (1 + n)``, and comparisons of shuffled statistics with an observed one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            if _plus_one(node.left) and _plus_one(node.right):
                found.append(ast.unparse(node))
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.GtE | ast.Gt):
            if {"null", "shuffled", "permuted"} & {ast.unparse(node.left).split("[")[0]}:
                found.append(ast.unparse(node))
    return found


FILES = sorted(path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py"))


@cache
def calls_of_files() -> dict[str, set[str]]:
    return {name: calls((SRC / name).read_text(encoding="utf-8")) for name in FILES}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_stands_in_its_file_alone(call):
    found = {name for name, made in calls_of_files().items() if call in made}
    assert found == CALLS[call]


def test_the_permutation_p_value_stands_in_one_file():
    found = {name: permutation_p_values((SRC / name).read_text(encoding="utf-8")) for name in FILES}
    assert set({name: each for name, each in found.items() if each}) == {"stats/permutation.py"}


@pytest.mark.parametrize(
    "planted",
    [
        "p = float((1 + (null >= score - 1e-12).sum()) / (1 + len(null)))",
        "p = (beyond + 1) / (len(orders) + 1)",
        "hits = (shuffled >= statistic[0] * (1 - 1e-9)).sum(axis=0)",
    ],
)
def test_a_planted_p_value_is_found(planted):
    assert permutation_p_values(planted)


def test_a_planted_estimate_is_found():
    assert "cumprod" in calls("curve = np.cumprod(1 - events / at_risk)")
