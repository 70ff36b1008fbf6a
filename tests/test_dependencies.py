"""Packages: what the source imports is declared, what is declared is imported, and the docs say what for."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import spatialfm as sfm
from spatialfm import _optional
from spatialfm._errors import SpatialfmError

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCS = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
# extras that the tests do without, as their packages bring torchvision or a network of their own: adapters are tested
# against a module with the calls of the library
UNTESTED = {"cellpose", "instanseg"}
CHECKED = {"test", "docs", "dev", "all"}  # extras of developers, and the one that names others


def name_of(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement).group().lower().replace("_", "-")


@functools.cache
def imported() -> set[str]:
    """Top-level modules that the source imports anywhere, also within functions and for type checkers."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and name != "spatialfm"}


def declared() -> dict[str, set[str]]:
    """Package: where it is declared, ``core`` or extras."""
    found = {name_of(one): {"core"} for one in PROJECT["dependencies"]}
    for extra, packages in PROJECT["optional-dependencies"].items():
        if extra not in CHECKED:
            for one in packages:
                found.setdefault(name_of(one), set()).add(extra)
    return found


def rows() -> dict[str, list[str]]:
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in DOCS.splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): row for row in cells if len(row) == 5}


OWNERS = {
    module: {name.lower().replace("_", "-") for name in names} for module, names in packages_distributions().items()
}
# what has members in a namespace of another package
OWNERS |= {"cellpose": {"cellpose"}, "instanseg": {"instanseg-torch"}}  # not installed here
OWNERS |= {"mpl_toolkits": {"matplotlib"}, "ot": {"pot"}, "skimage": {"scikit-image"}, "sklearn": {"scikit-learn"}}


def test_every_import_is_declared():
    known = declared()
    missing = {name for name in imported() if not OWNERS.get(name, {name}) & set(known)}
    assert not missing


def test_every_declared_package_is_imported_or_says_through_which():
    used = {owner for name in imported() for owner in OWNERS.get(name, {name})}
    idle = {name for name in declared() if name not in used}
    assert {name for name, row in rows().items() if row[3].startswith("through ")} >= idle - {"imagecodecs"}
    assert "imagecodecs" in (ROOT / "src/spatialfm/io/_layout.py").read_text(encoding="utf-8")  # tifffile finds it


def test_the_table_of_the_docs_has_all_packages_with_extra_and_licence():
    known = declared()
    assert set(rows()) == set(known)
    for name, row in rows().items():
        if known[name] == {"core"}:
            assert row[1] == "core", name
        else:
            assert set(re.findall(r"`([\w]+)`", row[1])) == known[name], name


@pytest.mark.parametrize(
    ("package", "licence"),
    [("igraph", "GPL-2.0-or-later"), ("leidenalg", "GPL-3.0-or-later"), ("scikit-survival", "GPL-3.0-or-later"),
     ("harmonypy", "GPL-3.0-or-later")],
)  # fmt: skip
def test_copyleft_is_named_where_users_look(package, licence):
    """What the packages say of themselves is what the docs and the README say of them."""
    from importlib.metadata import metadata

    data = metadata(package)
    own = f"{data.get('License-Expression') or ''} {data.get('License') or ''}"
    assert licence in own or "GNU General Public License" in own
    if package in declared():
        assert rows()[package][2] == licence
        assert f"`{package}`" in (ROOT / "README.md").read_text(encoding="utf-8")
    others = {name for name, row in rows().items() if "GPL" in row[2]}
    assert others <= {"igraph", "leidenalg", "scikit-survival", "harmonypy"}


def test_extras_that_tests_use_are_in_the_extra_of_tests():
    test = {name_of(one) for one in PROJECT["optional-dependencies"]["test"]}
    assert {name for name, where in declared().items() if "core" not in where and where - UNTESTED} <= test
    extras = {extra for extra in PROJECT["optional-dependencies"] if extra not in CHECKED}
    assert set(re.findall(r"\w+", PROJECT["optional-dependencies"]["all"][0])) == extras - UNTESTED | {"spatialfm"}
    assert set(_optional.EXTRAS.values()) <= extras


def test_constraints_have_every_declared_package_in_the_version_that_is_allowed():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    assert {name for name, where in declared().items() if where - UNTESTED} <= set(pinned)
    assert tuple(map(int, pinned["pynndescent"].split(".")[:2])) < (0, 7)


@pytest.mark.parametrize(
    ("module", "call", "message"),
    [
        (
            "optuna", lambda a: sfm.tl.annotate(a, "type", use_rep="X_latent", C="search"),
            r"C=\"search\" needs the package optuna: pip install 'spatialfm\[tuning\]'. Or pass .*C=1.0",
        ),
        (
            "ot", lambda a: sfm.tl.search_samples(a, a.obs["sample"].iloc[0], use_rep="X_latent"),
            r"search_samples needs the package POT: pip install 'spatialfm\[transport\]'.",
        ),
        (
            "ot", lambda a: sfm.tl.distribution_shift(a, use_rep="X_latent", time_key="time"),
            r"distribution_shift needs the package POT: pip install 'spatialfm\[transport\]'.",
        ),
        (
            "harmonypy",
            lambda a: sfm.metrics.batch_effect(a, batch_key="sample", use_rep="X_latent", lisi=True, patient_key=None),
            r"lisi=True needs the package harmonypy: pip install 'spatialfm\[batch\]'.",
        ),
        (
            "usearch",
            lambda a: sfm.tl.build_index(a, use_rep="X_latent", approximate=True, method="usearch"),
            r"method=\"usearch\" needs the package usearch: pip install 'spatialfm\[search\]'. Or pass method",
        ),
    ],
)  # fmt: skip
def test_a_package_that_is_not_there_is_named_with_its_extra(module, call, message, monkeypatch):
    there = _optional.find_spec
    monkeypatch.setattr(_optional, "find_spec", lambda name: None if name == module else there(name))
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=30, random_state=0)
    with pytest.raises(SpatialfmError, match=message):
        call(cells)


def test_a_penalty_of_ones_own_and_the_default_need_no_optuna(monkeypatch):
    monkeypatch.setattr(_optional, "find_spec", lambda name: None)
    monkeypatch.setattr("spatialfm.learn.heads.trees.N_TREES", 5)
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=30, random_state=0)
    for C in (1.0, "grid"):
        sfm.tl.annotate(cells, "type", use_rep="X_latent", C=C)
        assert cells.obs["type_predicted"].notna().all()
    sfm.tl.annotate(cells, "type", use_rep="X_latent")


@pytest.mark.parametrize(
    ("scanpy", "pynndescent", "n", "refused"),
    [
        ("1.11.5", "0.7.0", 8192, True),
        ("1.11.5", "0.7.0", 8191, False),
        ("1.11.5", "0.6.0", 8192, False),
        ("1.12.0", "0.7.1", 8192, False),
        ("1.11.5", "1.0.0", 9000, True),
    ],
)
def test_versions_that_do_not_go_together(scanpy, pynndescent, n, refused, monkeypatch):
    monkeypatch.setattr(_optional, "version", {"scanpy": scanpy, "pynndescent": pynndescent}.__getitem__)
    if not refused:
        return _optional.check_neighbours(n)
    with pytest.raises(SpatialfmError, match=rf"scanpy {scanpy} cannot read .*{pynndescent}.*pynndescent<0.7"):
        _optional.check_neighbours(n)


def test_a_graph_is_refused_before_it_is_computed(monkeypatch):
    from spatialfm.learn import leiden

    monkeypatch.setattr(_optional, "DENSE_BELOW", 10)
    monkeypatch.setattr(_optional, "version", {"scanpy": "1.11.5", "pynndescent": "0.7.0"}.__getitem__)
    monkeypatch.setattr("scanpy.pp.neighbors", lambda *_, **__: pytest.fail("computed"))
    cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=30, random_state=0)
    with pytest.raises(SpatialfmError, match="pynndescent 0.7.0"):
        leiden.neighbour_graph(cells.obsm["X_latent"], 5, 0)
