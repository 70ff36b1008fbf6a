"""Packages that only some functions need, and versions of two that do not go together."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.util import find_spec

from ._errors import SpatialfmError

EXTRAS = {  # module: the extra of pyproject.toml that installs it; models say their own
    "cellpose": "cellpose",
    "harmonypy": "batch",
    "instanseg": "instanseg",
    "lightning_fabric": "train",
    "optuna": "tuning",
    "ot": "transport",
    "readimc": "imc",
    "usearch": "search",
}
DENSE_BELOW = 8192  # cells below which scanpy compares all with all, without pynndescent


def need(module: str, what: str, instead: str = "", error: type[SpatialfmError] = SpatialfmError) -> None:
    """Refuse to go on without a module of an extra; nothing is imported yet.

    Parameters
    ----------
    module
        Module, such as ``"usearch"``.
    what
        Subject of the message: the argument or function that needs it.
    instead
        What can be done without it, a sentence.

    Raises
    ------
    SpatialfmError
        If it is not installed; the message names the extra.

    Examples
    --------
    >>> need("optuna", 'C="search"')
    """
    if find_spec(module) is None:
        name = {"instanseg": "instanseg-torch", "ot": "POT"}.get(module, module)
        raise error(f"{what} needs the package {name}: pip install 'spatialfm[{EXTRAS[module]}]'. {instead}".rstrip())


def check_neighbours(n: int) -> None:
    """Refuse a graph of many cells where scanpy cannot read what pynndescent returns, before it is computed.

    pynndescent 0.7 returns a sparse array where versions before returned a sparse matrix; scanpy 1.11 takes rows of it
    as rows of a matrix, and fails after the neighbours were found.
    """
    installed = {name: version(name) for name in ("scanpy", "pynndescent")}
    if (
        n >= DENSE_BELOW
        and _first_two(installed["scanpy"]) < (1, 12)
        and _first_two(installed["pynndescent"]) >= (0, 7)
    ):
        raise SpatialfmError(
            f"scanpy {installed['scanpy']} cannot read the neighbours that pynndescent {installed['pynndescent']} "
            f"finds in {DENSE_BELOW:,} cells or more (here {n:,}): pip install 'pynndescent<0.7', see constraints.txt."
        )


def _first_two(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
