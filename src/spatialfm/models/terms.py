"""Licences that forbid to pass on what is derived from a model."""

from __future__ import annotations

import re

from .._errors import ModelError
from .._logging import logger
from .card import ModelCard


def forbids_derivatives(license: str) -> bool:
    """Whether a licence has the clause "no derivatives" of Creative Commons.

    Examples
    --------
    >>> forbids_derivatives("CC-BY-NC-ND-4.0"), forbids_derivatives("CC BY-ND"), forbids_derivatives("Apache-2.0")
    (True, True, False)
    """
    return "ND" in re.split(r"[^A-Z]+", license.upper())


def check_terms(card: ModelCard, accepted: bool) -> None:
    """Ask, before a model is derived from another, for what the other's licence does not grant.

    Raises
    ------
    ModelError
        If the licence forbids to pass on derived models, and that was not accepted.
    """
    if not forbids_derivatives(card.license):
        return
    terms = (
        f"the weights of {card.name} are under {card.license}, which forbids to pass on models that are derived from "
        "them, adapters and distilled models too, without the approval of their owners"
    )
    if not accepted:
        place = f" See https://huggingface.co/{card.hub}." if card.hub else ""
        raise ModelError(
            f"Nothing was trained: {terms}.{place} Pass accept_terms=True if you keep to these terms or have that "
            "approval; what is written states them."
        )
    logger.warning("%s; you have accepted that", terms)
