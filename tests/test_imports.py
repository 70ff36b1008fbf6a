"""Who may import whom, compared with the code; what importing the package costs; habits of the house."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "spatialfm"
PACKAGE = "spatialfm"
LONGEST = 420  # lines; a longer file has two subjects

# `_demo` and what begins with it belong to the command line
ROOMS = {
    *("cli", "_demo", "cohort", "datasets", "embed", "get", "io", "learn", "metrics", "models", "pl", "pp", "stats"),
    *("reporting", "tl", "train", "__main__"),
}
MAY_IMPORT = {  # besides itself and the top-level files that begin with an underscore
    "models": set(),
    "stats": set(),
    "pp": set(),
    "io": {"pp"},
    "datasets": {"pp"},
    "embed": {"models", "pp"},
    "train": {"models", "embed", "pp", "learn", "metrics"},  # these two judge an encoder while it is trained
    "metrics": {"stats"},
    "get": {"models"},
    "reporting": {"cohort", "get", "metrics", "models", "pl", "pp", "stats", "tl"},
    "cohort": {"stats"},
    "learn": {"stats", "cohort", "metrics"},
    "tl": {"embed", "models", "pp", "get", "metrics", "stats", "cohort", "learn"},
    "pl": {"pp", "get", "stats", "cohort"},
    "_demo": ROOMS - {"cli", "__main__"},
    "cli": ROOMS,
    "__main__": {"cli"},  # python -m spatialfm
}
# single files that may import more than their room does, each with what it takes
# what embeddings are made with is not made a second time: statistics of markers by the code that normalises with them,
# cells by a network on pixels as its encoder takes them
FILES_MAY_IMPORT = {
    "pp.statistics": {"embed.markers", "embed.pixels"},
    "pp.segment_network": {"embed.segment"},
}
# rooms of `tl`: by question; what one may take from another, besides itself
TL_ROOMS = {
    "alignment": set(),
    "context": set(),
    "embedding": set(),
    "imputation": set(),
    "phenotypes": set(),
    "neighborhoods": set(),
    "survival": set(),
    "patients": {"survival"},
    "regions": {"patients", "phenotypes"},
    "retrieval": {"phenotypes"},
    "samples": {"phenotypes"},
    "signatures": {"neighborhoods", "phenotypes", "samples"},
}
# Files of `tl` without a public function: what functions of a room share or stand on, and no room below may hold, as it
# needs `embed`, `learn` and `cohort` together, or a public function.
SHARED_IN_TL = {
    "alignment.applied",
    "imputation.floors", "imputation.image_error", "imputation.nearest_of_images", "imputation.one_name",
    "imputation.one_unit",
    "imputation.painted_scores", "imputation.panel_by_model", "imputation.panel_tables", "imputation.perturbed_cells",
    "imputation.reconstruct_linear", "imputation.surprise_maps", "imputation.surprise_parts",
    "phenotypes.annotation_inputs",
    "regions.artifact_examples", "regions.token_table",
    "survival.external_groups", "survival.external_validation",
}  # fmt: skip
# transformers: only where the user lets a repository's own code run (kronos2); cloudpickle: what workers are sent
MODELS_LIBRARIES = {
    "torch", "cloudpickle", "numpy", "numba", "pandas", "safetensors", "huggingface_hub", "pooch", "lazy_loader",
    "transformers",
}  # fmt: skip


def room_of(module: str) -> str:
    """``tl`` of ``spatialfm.tl.survival.cox``; an underscore file or the package itself by its own name."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else ""
    return "_demo" if name.startswith("_demo") else name


@functools.cache
def imported_modules(source: str, module: str, is_package: bool) -> list[tuple[int, str]]:
    """Line and absolute name of everything that a module imports, wherever in it the import stands."""
    here = module.split(".") if is_package else module.split(".")[:-1]
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # `from .. import tl` and `from spatialfm import tl` name the room behind the import
            names = [f"{name}.{alias.name}" for alias in node.names] if name == PACKAGE else [name]
            found += [(node.lineno, name) for name in names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            if isinstance(node.args[0], ast.Constant):
                found.append((node.lineno, str(node.args[0].value)))
    return found


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """Imports that the map forbids, as text."""
    room, wrong = room_of(module), []
    for line, name in imported_modules(source, module, is_package):
        where = f"{module}:{line} imports {name}"
        if name.split(".")[0] == PACKAGE:
            target = room_of(name)
            common = target.startswith("_") and target != "_demo"
            allowed = common or target == room or target in MAY_IMPORT.get(room, set())
            allowed |= ".".join(name.split(".")[1:3]) in FILES_MAY_IMPORT.get(module.partition(".")[2], set())
            if room not in ROOMS:  # the package itself and its common files
                allowed = common or (module == PACKAGE and target not in {"cli", "_demo"})
            if room == target == "tl" and module.count(".") > 2 and name.count(".") > 2:
                one, other = module.split(".")[2], name.split(".")[2]
                allowed = one == other or other in TL_ROOMS.get(one, set())
            if not allowed or target in {"", "__version__"}:  # nobody imports the package itself: it imports them
                wrong.append(where)
        elif room == "models" and name.split(".")[0] not in MODELS_LIBRARIES | sys.stdlib_module_names:
            wrong.append(where)
    return wrong


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(SRC.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(SRC).with_suffix("").parts]
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def test_import_map():
    """One test for all files: a test of each costs more than what it looks at."""
    rooms = {module: room_of(module) for module, _ in modules()}
    assert not [module for module, room in rooms.items() if not (room in ROOMS | {""} or room.startswith("_"))]
    found = {
        module: violations(path.read_text("utf-8"), module, path.name == "__init__.py") for module, path in modules()
    }
    assert not {module: wrong for module, wrong in found.items() if wrong}


def test_the_page_for_contributors_has_the_same_map():
    text = (SRC.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|$", text.split("| room | may import |")[1], flags=re.M)
    written = {
        room: set(re.findall(r"`([a-z]+)`", allowed))
        for rooms, allowed in rows
        for room in re.findall(r"`(\w+)`", rooms)
    }
    assert {room: allowed for room, allowed in written.items() if room in MAY_IMPORT and room != "cli"} == {
        room: allowed for room, allowed in MAY_IMPORT.items() if room not in ("cli", "__main__", "_demo")
    }
    files = {
        name: set(re.findall(r"`([a-z.]+)`", allowed))
        for name, allowed in re.findall(r"^\| `([a-z_]+(?:\.[a-z_]+)+)` alone \| ([^|]*) \|$", text, flags=re.M)
    }
    assert files == FILES_MAY_IMPORT
    for folder in [path.parent for path in SRC.rglob("__init__.py") if path.parent != SRC]:
        assert folder.name in text or folder.parent.name in ("markers",), f"{folder} is not in CONTRIBUTING.md"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("spatialfm.models.vit", "import timm"),
        ("spatialfm.models.vit", "def f():\n    from scanpy import pp"),
        ("spatialfm.models.vit", "from ..pp import elements"),
        ("spatialfm.models.vit", "if True:\n    from spatialfm.pp.arrays import AxisAffine"),
        ("spatialfm.pl._cells", "from ..models.registry import load"),
        ("spatialfm.pl._cells", "from .. import tl"),
        ("spatialfm.pl._cells", "from spatialfm import embed"),
        ("spatialfm.pl._cells", "import spatialfm.embed.run.engine as engine"),
        ("spatialfm.pl._cells", "import importlib\nimportlib.import_module('spatialfm.tl')"),
        ("spatialfm.tl.survival.cox", "from ...pl import kaplan_meier"),
        ("spatialfm.tl.survival.cox", "from ...io import read_tiff"),
        ("spatialfm.embed.run.engine", "from ...tl.survival.cox import cox"),
        ("spatialfm.pp.cells", "from ..embed import engine"),
        ("spatialfm.pp.cells", "from ..embed.pixels.statistics import merged"),
        ("spatialfm.pp.statistics", "from ..embed.run.engine import run"),
        ("spatialfm.pp.statistics", "from ..models import load"),
        ("spatialfm.pp.segment_network", "from ..embed.inputs import prepare_inputs"),
        ("spatialfm.pp.segmentation", "from ..embed.segment.call import open_network"),
        ("spatialfm.io.tiff", "from ..datasets import simulate_cohort"),
        ("spatialfm.datasets._x", "from ..cli import main"),
        ("spatialfm._keys", "from .pp import elements"),
        ("spatialfm.tl.survival.cox", "from ..._demo import run_demo"),
        ("spatialfm", "from .cli import main"),
        ("spatialfm.tl.survival.cox", "from ..patients.stratify import stratify"),
        ("spatialfm.cohort.outcome", "from ..learn.probe import fit_head"),
        ("spatialfm.learn.probe", "from ..tl.survival.cox import cox"),
        ("spatialfm.stats.cox", "from ..cohort.outcome import outcome"),
        ("spatialfm.embed.result.record", "from ... import __version__"),
    ],
)
def test_the_map_catches_a_planted_import(module, source):
    assert len(violations(source, module, module == PACKAGE)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("spatialfm.models.vit", "import torch.nn.functional as F\nimport math\nfrom .card import ModelCard"),
        ("spatialfm.models.vit", "from .._errors import ModelError"),
        ("spatialfm.pp.statistics", "from ..embed.pixels.statistics import merged"),
        ("spatialfm.pp.segment_network", "from ..embed.segment.call import open_network"),
        ("spatialfm.embed.run.engine", "from ...models import load\nfrom ...pp.arrays import AxisAffine"),
        ("spatialfm.tl.embedding.embed_cells", "from ...embed.run.engine import run\nimport lifelines"),
        ("spatialfm.pl._cells", "from ..pp.arrays import AxisAffine\nimport spatialdata"),
        ("spatialfm.cli.demo", "from .. import tl, io, _demo"),
        ("spatialfm.__main__", "from .cli import main"),
        ("spatialfm._demo", "from . import _demo_figures\nfrom .tl import cox"),
        ("spatialfm", "from . import tl, pl\nfrom ._settings import settings"),
    ],
)
def test_the_map_lets_allowed_imports_pass(module, source):
    assert not violations(source, module, module == PACKAGE)


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, whenever they do."""
    import networkx

    graph = networkx.DiGraph((one, other) for one, others in imports.items() for other in others if other in imports)
    return [sorted(group) for group in networkx.strongly_connected_components(graph) if len(group) > 1]


def test_no_circles():
    imports = {
        module: {name for _, name in imported_modules(path.read_text(encoding="utf-8"), module, False)}
        for module, path in modules()
        if path.name != "__init__.py"
    }
    assert len(imports) > 200
    assert circles(imports) == []


def test_a_planted_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_module_of_tl_hides_a_function():
    import spatialfm as sfm

    rooms = {path.parent.name for _, path in modules() if path.parent.parent.name == "tl"}
    assert rooms == set(TL_ROOMS)
    assert not rooms & set(sfm.tl.__all__)
    assert not any(inspect.ismodule(getattr(sfm.tl, name)) for name in sfm.tl.__all__)


def test_files_of_tl_hold_public_functions():
    without = {
        module.removeprefix(f"{PACKAGE}.tl.")
        for module, path in modules()
        if module.count(".") == 3 and room_of(module) == "tl" and "\n@public" not in path.read_text(encoding="utf-8")
    }
    assert without == SHARED_IN_TL


def test_relative_imports_of_a_package_are_resolved():
    assert imported_modules("from .card import X", "spatialfm.models", True) == [(1, "spatialfm.models.card")]
    assert imported_modules("from ..pp.x import y", "spatialfm.models", True) == [(1, "spatialfm.pp.x")]
    assert imported_modules("from ..pp.x import y", "spatialfm.models.z", False) == [(1, "spatialfm.pp.x")]
    assert imported_modules("from .. import tl, pp", "spatialfm.pl.z", False) == [
        (1, "spatialfm.tl"),
        (1, "spatialfm.pp"),
    ]


def test_files_have_one_subject():
    lengths = {module: len(path.read_text("utf-8").splitlines()) for module, path in modules()}
    assert not {module: n for module, n in lengths.items() if n > LONGEST}


def test_no_print_no_assert_no_filter():
    for module, path in modules():
        text = path.read_text(encoding="utf-8")
        if re.search(r"\bassert\b|print\(|filterwarnings|simplefilter", text):  # most have none of them
            check_calls(module, path, text)


def check_calls(module, path, text):
    for node in ast.walk(ast.parse(text)):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{where}: users see no message of a bare assert; raise an error"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "print" or module == f"{PACKAGE}.cli._screen", f"{where}: log instead of printing"
            # the command is its own program: there the session's warnings are its to show
            if called in {"warnings.filterwarnings", "warnings.simplefilter"} and room_of(module) != "cli":
                assert "SpatialfmWarning" in ast.unparse(node), (
                    f"{where}: other people's warnings are not ours to filter"
                )


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_is_light():
    heavy = ("torch", "scanpy", "squidpy", "anndata", "spatialdata", "lifelines", "sksurv", "matplotlib", "pandas")
    loaded = run(f"import sys, {PACKAGE}; print([name for name in {heavy!r} if name in sys.modules])")
    assert loaded.strip() == "[]"


@pytest.mark.parametrize("room", ["datasets", "io", "metrics", "models", "pl", "pp", "tl", "train"])
def test_a_namespace_is_light_and_lists_its_functions(room):
    loaded = "[name for name in ('torch', 'squidpy') if name in sys.modules]"
    listed = run(f"import sys, {PACKAGE} as sfm; names = dir(sfm.{room}); print({loaded}, names)")
    assert listed.startswith("[] ")
    assert all(not name.startswith("_") for name in ast.literal_eval(listed[3:].strip()))


def test_every_public_name_can_be_loaded():
    import spatialfm as sfm

    assert {"datasets", "get", "io", "metrics", "models", "pl", "pp", "settings", "tl", "train"} <= set(dir(sfm))
    assert "embed" not in dir(sfm)  # the engine is not a page of the documentation
    for room in ("datasets", "get", "io", "metrics", "models", "pl", "pp", "tl", "train"):
        namespace = getattr(sfm, room)
        for name in namespace.__all__:
            assert getattr(namespace, name).__doc__, f"sfm.{room}.{name} has no docstring"
