"""Execute every notebook of tutorials/ into docs/tutorials/; stop at the first error.

Usage: python docs/execute_tutorials.py [--jobs 2] [NAME ...]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
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
    for output in outputs:
        if output.get("name") == "stderr":  # our own warnings belong on the page, without the file of the kernel
            output["text"] = re.sub(r"(?m)^/\S+\.py:\d+: (SpatialfmWarning: .*)\n  .*\n?", r"\1\n", output["text"])
    _check_page(path, outputs)
    # written only now: a notebook that failed leaves no half-executed page
    TARGET.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, TARGET / path.name)


def data_folder() -> Path:
    """Folder of real images, which the tests know under the same name."""
    return Path(os.environ.get("SPATIALFM_DATA", ROOT.parent / "shared" / "data"))


def lacks_data(path: Path) -> bool:
    """Whether a notebook needs real images that are not there; its page is left out then."""
    needed = nbformat.read(path, as_version=4).metadata.get("spatialfm", {}).get("needs_data")
    return needed is not None and not (data_folder() / needed).is_dir()


def outdated() -> list[str]:
    """Notebooks that were not executed, or before their last change."""
    sources = [source for source in sorted(SOURCE.glob("*.ipynb")) if not lacks_data(source)]
    pairs = [(source, TARGET / source.name) for source in sources]
    return [source.name for source, page in pairs if not page.exists() or page.stat().st_mtime < source.stat().st_mtime]


def write_cards(folder: Path) -> None:
    """One card per tutorial with its first figure, for the page that lists them."""
    folder.mkdir(exist_ok=True)
    cards = ["::::{grid} 1 2 2 3", ":gutter: 3", ""]
    for path in sorted(TARGET.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title, text = _introduction(notebook)
        picture = next(
            output["data"]["image/png"]
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        )
        (folder / f"{path.stem}.png").write_bytes(base64.b64decode(picture))
        cards += [f":::{{grid-item-card}} {title}", f":link: {path.stem}", ":link-type: doc"]
        cards += [f":img-top: ../_figures/{path.stem}.png", f":img-alt: first figure of: {title}", "", text, ":::", ""]
    (folder / "tutorials.txt").write_text("\n".join([*cards, "::::", ""]), encoding="utf-8")


def _introduction(notebook) -> tuple[str, str]:
    """Title and first sentence."""
    heading, _, rest = notebook.cells[0].source.partition("\n")
    return heading.lstrip("# "), re.split(r"(?<=[.!?])\s", " ".join(rest.split()), maxsplit=1)[0]


def _check_page(path: Path, outputs: list) -> None:
    """Refuse what does not belong on a page: paths of this machine, warnings, numbers that show their type."""
    shown = [json.dumps(output.get("data", output.get("text", ""))) for output in outputs]
    shown = [re.sub(r'"image/[a-z+]+": "[^"]*"', "", text).replace("\\n", "\n") for text in shown]
    patterns = {
        "a path of this machine": r"/(tmp|home|root|usr|var|work)/",
        "a warning of another package": r"\b(?!Spatialfm)\w+Warning: ",
        "a number with its type": r"np\.(float|int|str|bool)\w*\(",
        "an object beside its figure": r"<Axes: |<matplotlib\.",
    }
    for what, pattern in patterns.items():
        for text in shown:
            if match := re.search(pattern, text):
                start = max(match.start() - 60, 0)
                raise RuntimeError(f"{path.name} shows {what}: ...{text[start : match.end() + 60]}...")


def timed(path: Path) -> float:
    """Execute a notebook; the seconds that it took."""
    start = time.perf_counter()
    execute(path)
    return time.perf_counter() - start


def execute_all(paths: list[Path], jobs: int) -> int:
    """Execute notebooks, some at the same time; the exit code. After an error no further one is begun."""
    with ProcessPoolExecutor(jobs) as pool:
        # the last ones train and take longest: begun first, they do not end alone
        at_work: dict[Future, Path] = {pool.submit(timed, path): path for path in reversed(paths)}
        for done in as_completed(at_work):
            name = at_work[done].name
            try:
                sys.stdout.write(f"{name}: {done.result():.0f} s\n")
                sys.stdout.flush()
            except CellExecutionError as error:
                pool.shutdown(cancel_futures=True)
                sys.stderr.write(f"{name} failed:\n{error}\n")
                return 1
            except Exception:
                pool.shutdown(cancel_futures=True)
                raise
    return 0


def main(arguments: list[str]) -> int:
    """Execute the named notebooks, or all."""
    parser = argparse.ArgumentParser(description="Execute tutorials into docs/tutorials/.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="file names; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks that run at the same time")
    args = parser.parse_args(arguments)
    # a kernel inherits these: no bars in the pages, and figures as outputs whatever the shell has set for matplotlib
    os.environ.setdefault("SPATIALFM_PROGRESS", "0")
    # of tqdm without widgets, and of a library that squidpy takes its docstrings from: a reader could change nothing
    ignored = (
        "IProgress not found",
        "No data for colormapping provided",
        "'n_jobs' is not a valid key",
        "'show_progress_bar' is not a valid key",
    )
    os.environ.setdefault("PYTHONWARNINGS", ",".join(f"ignore:{text}" for text in ignored))
    os.environ["SPATIALFM_DATA"] = str(data_folder())
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    paths = [SOURCE / name for name in args.names] if args.names else sorted(SOURCE.glob("*.ipynb"))
    if not paths:
        sys.stderr.write(f"No notebook in {SOURCE}.\n")
        return 1
    for path in [path for path in paths if lacks_data(path)]:
        sys.stdout.write(f"{path.name}: left out, its images are not in the folder of SPATIALFM_DATA\n")
        paths.remove(path)
    return execute_all(paths, args.jobs)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
