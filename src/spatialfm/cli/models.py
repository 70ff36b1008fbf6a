"""``spatialfm models``: the models there are."""

from __future__ import annotations

import argparse
from typing import Any

from ._parser import add_command
from ._screen import Screen

COLUMNS = ["parameters", "license", "commercial", "gated", "outputs", "mpp", "window"]


def add(commands: Any) -> None:
    """The command and its options."""
    add_command(
        commands,
        "models",
        run,
        summary="the models there are",
        description="Lists all models with their licence, resolution and window.",
        example="spatialfm models",
    )


def run(args: argparse.Namespace, screen: Screen) -> None:
    """A table of models, and what to cite."""
    from ..models import list_models

    table = list_models()
    screen.show(table[COLUMNS].to_string(na_rep="-"))
    screen.show("")
    for name, reference in table["reference"].items():
        screen.show(f"{name}: {reference}")
