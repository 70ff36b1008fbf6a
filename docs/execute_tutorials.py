"""Execute every notebook of tutorials/ into docs/tutorials/; stop at the first error.

Usage: python docs/execute_tutorials.py [NAME ...]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tutorials"
TARGET = ROOT / "docs" / "tutorials"
TIMEOUT_S = 900  # a cell


def execute(path: Path) -> None:
    """Run one notebook in an empty folder, so that nothing beside it is needed or left behind."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    if not any("image/png" in output.get("data", {}) for output in outputs):
        raise RuntimeError(f"{path.name} was executed and shows no figure")
    # written only now: a notebook that failed leaves no half-executed page
    TARGET.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, TARGET / path.name)


def main(names: list[str]) -> int:
    """Execute the named notebooks, or all."""
    # a kernel inherits these: no bars in the pages, and figures as outputs whatever the shell has set for matplotlib
    os.environ.setdefault("SPATIALFM_PROGRESS", "0")
    # of tqdm without widgets, and of a library that squidpy takes its docstrings from: nothing that a reader could mend
    ignored = ("IProgress not found", "'n_jobs' is not a valid key", "'show_progress_bar' is not a valid key")
    os.environ.setdefault("PYTHONWARNINGS", ",".join(f"ignore:{text}" for text in ignored))
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    paths = [SOURCE / name for name in names] if names else sorted(SOURCE.glob("*.ipynb"))
    if not paths:
        sys.stderr.write(f"No notebook in {SOURCE}.\n")
        return 1
    for path in paths:
        start = time.perf_counter()
        try:
            execute(path)
        except CellExecutionError as error:
            sys.stderr.write(f"{path.name} failed after {time.perf_counter() - start:.0f} s:\n{error}\n")
            return 1
        sys.stdout.write(f"{path.name}: {time.perf_counter() - start:.0f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
