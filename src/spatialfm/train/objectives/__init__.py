"""Objectives of training, one file each."""

from __future__ import annotations

from .check import check_objective
from .objective import Group, Objective, Schedule, Term, Views
from .registry import new_objective, register_objective

__all__ = [
    "Group",
    "Objective",
    "Schedule",
    "Term",
    "Views",
    "check_objective",
    "new_objective",
    "register_objective",
]
