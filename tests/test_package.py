"""What the package says of itself agrees: versions, files it ships, pages, targets, paths."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("docs_api_names", ROOT / "docs" / "api_names.py")
api_names = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(api_names)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMESPACES = ("datasets", "get", "io", "metrics", "models", "pl", "pp", "tl", "train")
TEXT_SUFFIXES = {
    ".cff",
    ".cfg",
    ".css",
    ".csv",
    ".ipynb",
    ".json",
    ".md",
    ".py",
    ".rst",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}
TEXT_NAMES = {"Makefile", "LICENSE", "run", ".editorconfig", ".gitignore"}
LEFT_OUT = {".git", ".venv", ".venv-constraints", "__pycache__", "_build", "generated", "demo_output"}


def tracked_texts():
    """Text files of the project, as far as they are its own."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if LEFT_OUT & set(parts) or parts[:2] == ("docs", "tutorials") or any(part.endswith(".zarr") for part in parts):
            continue
        if path.is_file() and (path.suffix in TEXT_SUFFIXES or path.name in TEXT_NAMES):
            yield path


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert str(citation["version"]) == newest[1]  # what is cited is a release
    version, released = Version(PROJECT["version"]), Version(newest[1])
    unreleased = "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    # records hold the version: numbers that have changed since a release must not carry its name
    assert (version > released and version.is_devrelease) if unreleased else version == released


def test_the_citation_has_what_the_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == PROJECT["license"]
    for work in (citation, *citation["references"]):
        assert all("name" in author or "family-names" in author for author in work["authors"])


def test_the_package_ships_its_types_marker():
    assert files("spatialfm").joinpath("py.typed").is_file()


def test_named_make_targets_exist():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run", *(ROOT / "docs").glob("*.md")]
    named = {
        name
        for path in texts
        for name in re.findall(r"(?:^|`|\")make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"demo", "test"} <= named
    assert named <= targets


def test_the_constraints_are_pins_that_any_build_satisfies():
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert not [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)]
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    extras = [wish for name in ("test", "docs", "dev") for wish in PROJECT["optional-dependencies"][name]]
    wanted = {re.split(r"[<>=!~\[; ]", wish)[0].lower() for wish in (*PROJECT["dependencies"], *extras)}
    assert not wanted - pinned


def test_no_file_names_a_folder_of_one_machine():
    # put together here, so that this file does not find itself
    names = ("work/", "opt/", "root/", "home/[a-z]", "Users/[A-Za-z]")
    machine = re.compile(r"(?<![\w.~])/(?:" + "|".join(names) + ")")
    begin = ["/" + name.partition("[")[0] for name in names]
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked_texts()
        if any(name in (text := path.read_text(encoding="utf-8")) for name in begin)  # quick, and most have none
        for match in machine.finditer(text)
    ]
    assert not found


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_public_name_is_on_the_api_page_once(namespace):
    """By hand, or in one of the lists that the build of the documentation makes and the page includes."""
    module = importlib.import_module(f"spatialfm.{namespace}")
    lists, included = api_names.lists(), api_names.included(namespace)
    assert sorted(included) == sorted(name for name in lists if name.partition(".")[0] == namespace)
    listed = [*api_names.by_hand(namespace), *(name for one in included for name in lists[one])]
    assert sorted(listed) == sorted(module.__all__)
    assert all(getattr(module, name).__doc__ for name in module.__all__)


def test_lists_of_names_are_written_where_pages_include_them(tmp_path, monkeypatch):
    """As the build has them: sources with functions, and each name in the list of its folder."""
    monkeypatch.setattr(api_names, "TARGET", tmp_path)
    monkeypatch.setattr(api_names, "DOCS", tmp_path.parent)
    monkeypatch.setattr(api_names, "page", lambda room: "   pp.marker_table\n" if room == "pp" else "")
    (tmp_path / "tl.gone.md").touch()
    (tmp_path.parent / "api").mkdir()
    (tmp_path.parent / "api" / "tl.md").touch()
    sources = api_names.write()
    assert {"api/tl.md", f"{tmp_path.name}/tl.survival.md"} <= set(sources)
    assert not (tmp_path / "tl.gone.md").exists()
    survival = (tmp_path / "tl.survival.md").read_text(encoding="utf-8").split()
    in_order = [name for name in survival if name in ("tl.cox", "tl.kaplan_meier", "tl.logrank")]
    assert in_order == ["tl.kaplan_meier", "tl.logrank", "tl.cox"]  # as registered, not by the alphabet
    of_pp = (tmp_path / "pp.md").read_text(encoding="utf-8").split()
    assert "pp.match_markers" in of_pp
    assert "pp.marker_table" not in of_pp  # the page lists it by hand


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, spatialfm; heavy = {'torch', 'scanpy', 'squidpy', 'spatialdata', 'anndata', 'pandas'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_the_logger_of_the_package_says_nothing_at_import():
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import spatialfm"], capture_output=True, text=True, check=True
    )
    assert run.stdout + run.stderr == ""
