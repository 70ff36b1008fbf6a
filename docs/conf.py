"""Sphinx configuration."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

# -- project ----------------------------------------------------------------------------------------------------------

_project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
project = _project["name"]
author = _project["authors"][0]["name"]
project_copyright = author
version = release = _project["version"]

# -- content ----------------------------------------------------------------------------------------------------------

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "**.ipynb_checkpoints", "execute_tutorials.py"]
# the first is what autosummary writes
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
root_doc = "index"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = [
    # types that are imported for type checkers alone: shown as written
    "sphinx_autodoc_typehints.forward_reference",
    "sphinx_autodoc_typehints.guarded_import",
]

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # sphinx_autodoc_typehints shows them
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = True
napoleon_custom_sections = [("Writes", "params_style")]
typehints_defaults = "braces"
always_document_param_types = True

# Links into other projects need the network; a build must pass without it.
if os.environ.get("SPATIALFM_DOCS_ONLINE") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "matplotlib": ("https://matplotlib.org/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "python": ("https://docs.python.org/3", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "spatialdata": ("https://spatialdata.scverse.org/en/stable/", None),
        "squidpy": ("https://squidpy.readthedocs.io/en/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }

# -- tutorials --------------------------------------------------------------------------------------------------------

# `make tutorials` leaves executed notebooks in docs/tutorials/, shown as they are. What it did not execute, or
# executed before the last change, is copied here and executed by the build.
nb_execution_mode = "force"
nb_execution_excludepatterns = []
for _source in sorted((ROOT / "tutorials").glob("*.ipynb")):
    _target = HERE / "tutorials" / _source.name
    if not _target.exists() or _target.stat().st_mtime < _source.stat().st_mtime:
        _target.parent.mkdir(exist_ok=True)
        shutil.copyfile(_source, _target)
    _cells = json.loads(_target.read_text(encoding="utf-8"))["cells"]
    if any(cell.get("execution_count") for cell in _cells):
        nb_execution_excludepatterns.append(f"tutorials/{_source.name}")
os.environ.setdefault("SPATIALFM_PROGRESS", "0")
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True

# -- html -------------------------------------------------------------------------------------------------------------

html_theme = "sphinx_book_theme"
html_title = "spatialfm"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2, "use_download_button": True}
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
