"""``spatialfm demo``: images to survival on the built-in cohort."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ._parser import add_command, folder, model, seed, some_text, whole
from ._screen import Screen

FEWEST_PATIENTS = 8  # fewer have no survival curves


def add(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands,
        "demo",
        run,
        summary="images to survival on the built-in cohort",
        description="Simulates a cohort of multiplexed tissue images with known truth and takes it from images and "
        "masks to phenotypes, neighborhoods and survival. Leaves a SpatialData store, tables and figures.",
        example="spatialfm demo --patients 12 --out demo_output",
    )
    parser.add_argument("--out", type=folder, default=Path("demo_output"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--patients", type=_patients, default=24, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--model", type=model, default="classical", metavar="NAME", help="see 'spatialfm models'; default: %(default)s"
    )
    parser.add_argument("--weights", type=some_text, metavar="PATH", help="file, folder or hub id of the weights")
    parser.add_argument("--seed", type=seed, default=0, metavar="INT", help="default: %(default)s")


def _patients(text: str) -> int:
    return whole(text, "n_patients", FEWEST_PATIENTS)


def run(args: argparse.Namespace, screen: Screen) -> None:
    """Every step of the demo."""
    from .._demo import run_demo

    with screen.noting():
        run_demo(
            args.out,
            n_patients=args.patients,
            model=args.model,
            weights=args.weights,
            random_state=args.seed,
            say=screen.show,
        )
