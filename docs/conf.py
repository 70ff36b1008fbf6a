"""Sphinx configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import api_names  # noqa: E402
import docstrings  # noqa: E402
import execute_tutorials  # noqa: E402
import gallery  # noqa: E402

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
exclude_patterns = ["_build", "_figures", "_names", "_templates", "**.ipynb_checkpoints"]
# the first is what autosummary writes
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
root_doc = "index"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = [
    "config.cache",  # typehints_formatter is a function, which is not kept between builds
    # types that are imported for type checkers alone: shown as written
    "sphinx_autodoc_typehints.forward_reference",
    "sphinx_autodoc_typehints.guarded_import",
]

autosummary_generate = api_names.write()
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88  # a longer one has a line for each argument
autodoc_typehints = "none"  # sphinx_autodoc_typehints shows them
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = True
napoleon_custom_sections = [("Writes", "params_style"), docstrings.SENTENCES]
typehints_defaults = "braces"
typehints_formatter = docstrings.type_shown
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

# single backticks in docstrings: a link where they name something that has a page
default_role = "py:obj"

# -- what the build executes: tutorials, figures, and the cells of single pages ----------------------------------------

os.environ.setdefault("SPATIALFM_PROGRESS", "0")
nb_execution_mode = "force"  # of pages with cells; notebooks are executed below, or before by `make tutorials`
nb_execution_excludepatterns = ["tutorials/*"]
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True


def run(script: str, names: list[str], what: str) -> None:
    """Execute one of the scripts beside this file for what is missing or older than its source, and say so."""
    if names:
        sys.stdout.write(f"docs: executing {len(names)} {what}: {', '.join(names)}\n")
        sys.stdout.flush()
        subprocess.run([sys.executable, str(HERE / script), *names], check=True)


run("execute_tutorials.py", execute_tutorials.outdated(), "tutorials")
run("gallery.py", gallery.outdated(), "figures of sfm.pl")
execute_tutorials.write_cards(HERE / "_figures")
gallery.write_cards(HERE / "_figures")
autosummary_context = {"figures": list(gallery.FIGURES)}

# -- html -------------------------------------------------------------------------------------------------------------

html_theme = "sphinx_book_theme"
html_title = "spatialfm"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2, "use_download_button": True}
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app) -> None:
    """Before and after napoleon, which reads docstrings at the usual priority, 500."""
    app.connect("autodoc-process-docstring", docstrings.prepare, priority=100)
    app.connect("autodoc-process-docstring", docstrings.finish, priority=900)
    app.connect("autodoc-skip-member", docstrings.skip)
