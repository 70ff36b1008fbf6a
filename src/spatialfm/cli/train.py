"""``spatialfm train``: functions that train, each from a settings file with its own arguments."""

from __future__ import annotations

import argparse
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .._arguments import shown
from .._errors import SpatialfmError, listed
from ._config import refuse, takes_a_file
from ._parser import add_command, meant, some_text
from ._screen import Screen
from ._stage import Option, options_of, parameter_texts
from ._yaml import Document, dump, read_document

WIDTH = 100
SUMMARIES = {
    "pretrain": "an encoder learns from images, without labels",
    "finetune": "a model learns from the labels of a cohort",
}
PLACES = {"sources": ["cohort.zarr"], "sdata": "cohort.zarr", "out": "run"}  # of what has no default
# what has to be said besides
SAID: dict[str, dict[str, Any]] = {"pretrain": {"epochs": 100}, "finetune": {"label_key": "cell_type"}}


def add(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands,
        "train",
        run,
        summary="train an encoder on images",
        description="Trains as the settings file says, which holds the arguments of a function of sfm.train. The same "
        "command again goes on with a run that was ended.",
        example="spatialfm train pretrain --print-config > config.yaml\n  spatialfm train pretrain config.yaml",
    )
    parser.add_argument(
        "function",
        choices=list(SUMMARIES),
        metavar="FUNCTION",
        help="; ".join(f"{name}: {text}" for name, text in SUMMARIES.items()),
    )
    parser.add_argument("config", nargs="?", type=some_text, metavar="CONFIG", help="settings file (.yaml)")
    parser.add_argument(
        "--print-config", action="store_true", help="print a settings file with every setting explained"
    )


def run(args: argparse.Namespace, screen: Screen) -> None:
    """Print a settings file, or train."""
    function = _function(args.function)
    if args.print_config:
        screen.show("\n".join(_lines(args.function, function)))
        return
    if args.config is None:
        raise SpatialfmError(
            f"Pass a settings file; 'spatialfm train {args.function} --print-config > config.yaml' makes one."
        )
    settings = read_settings(Path(args.config), function)
    with screen.noting():
        function(**settings)
    if "out" in settings:
        screen.say(f"saved in '{settings['out']}'")


def _function(name: str) -> Callable:
    from .. import train

    return getattr(train, name)


def read_settings(path: Path, function: Callable) -> dict[str, Any]:
    """Arguments of a function from a settings file; relative paths start at the file.

    Raises
    ------
    SpatialfmError
        With everything that is wrong, each with its line and key.
    """
    if not path.is_file():
        raise SpatialfmError(
            f"There is no settings file '{path}'. 'spatialfm train {function.__name__} --print-config' prints one."
        )
    document = read_document(path)
    if not isinstance(document.content, Mapping):
        refuse([f"settings are 'key: value' lines, not {shown(document.content)}."], path)
    content = {str(key): value for key, value in document.content.items()}
    options, needed = options_of(function), _needed(function)
    problems = [*document.problems, *_problems(document, content, options, needed)]
    refuse(problems, path)
    base = path.resolve().parent
    given = {
        name: _placed(value, base, name in needed or name in READ)
        if name in needed or name in READ or takes_a_file(options[name].rule)
        else value
        for name, value in content.items()
    }
    return {name: READ[name](value) if name in READ and value is not None else value for name, value in given.items()}


def _store(path: str) -> Any:
    import spatialdata as sd

    if not Path(path).is_dir():
        raise SpatialfmError(f"sdata: there is no store '{path}'. Name the folder that sdata.write(path) made.")
    return sd.read_zarr(path)


def _table(path: str) -> Any:
    import anndata as ad

    if not Path(path).exists():
        raise SpatialfmError(f"adata: there is no file '{path}'. Name the file that adata.write_h5ad(path) made.")
    return ad.read_zarr(path) if Path(path).is_dir() else ad.read_h5ad(path)


READ: dict[str, Callable[[str], Any]] = {"sdata": _store, "adata": _table}  # of functions that take objects


def _needed(function: Callable) -> list[str]:
    """Arguments without default."""
    return [
        name
        for name, one in inspect.signature(function).parameters.items()
        if one.default is one.empty and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    ]


def _problems(
    document: Document, content: Mapping[str, Any], options: Mapping[str, Option], needed: list[str]
) -> Iterator[str]:
    known = list(dict.fromkeys([*needed, *options]))
    for name, value in content.items():
        where = f"{document.line(name)}{name}: "
        if name not in known:
            yield f"{where}there is no such setting{meant(name, known) or f'; there are {listed(known, 40)}.'}"
        elif name in READ:
            if not (isinstance(value, str) and value.strip() or value is None and name not in needed):
                yield f"{where}{shown(value)} is not a path."
        elif name in needed:
            paths = value if isinstance(value, list) and value else [value]
            if not all(isinstance(one, str) and one.strip() for one in paths):
                yield f"{where}{shown(value)} is not a path, or a list of paths."
        elif (problem := options[name].problem(value)) is not None:
            yield f"{where}{problem}"
    for name in needed:
        if name not in content:
            yield f"{name}: is missing. Set for example '{dump({name: PLACES.get(name, '...')}).strip()}'."


def _placed(value: Any, base: Path, is_path: bool) -> Any:
    """Paths as seen from here; what is not a path may be a name, of a hub or of a model."""
    if isinstance(value, list):
        return [_placed(one, base, is_path) for one in value]
    if not isinstance(value, str):
        return value
    path = base / Path(value).expanduser()
    return str(path) if is_path or path.exists() else value


def _lines(name: str, function: Callable) -> Iterator[str]:
    """A settings file: what has no default is set, everything else a comment with its default."""
    texts = parameter_texts(inspect.getdoc(function) or "")
    yield f"# Settings of sfm.train.{name}; 'spatialfm train {name} config.yaml' runs it, and goes on with a run that"
    yield "# was ended. A line that begins with # is a comment: remove the # to set what it says."
    needed, said = _needed(function), SAID.get(name, {})
    for key in needed:
        yield ""
        yield from _comment(texts.get(key, ""))
        yield dump({key: PLACES.get(key, "...")}).rstrip()
    for key, option in options_of(function).items():
        if key in needed:
            continue
        yield ""
        yield from _comment(option.help)
        default = list(option.default) if isinstance(option.default, tuple) else option.default
        yield dump({key: said[key]}).rstrip() if key in said else f"# {dump({key: default}).rstrip()}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ") if text else []
