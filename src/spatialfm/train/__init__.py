"""Training: pretrain, fine-tune and distil encoders on one's own images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "augment": ["Augment"],
        "data": ["Windows"],
        "objectives": [
            "Group",
            "Objective",
            "Schedule",
            "Term",
            "check_objective",
            "new_objective",
            "register_objective",
        ],
        "pretrain": ["pretrain"],
        "pretrain_context": ["pretrain_context"],
        "distil": ["distil_encoder"],
        "explain": ["explain"],
        "finetune": ["finetune"],
        "tuning": ["FineTuning"],
    },
)

if TYPE_CHECKING:
    from .augment import Augment
    from .data import Windows
    from .distil import distil_encoder
    from .explain import explain
    from .finetune import finetune
    from .objectives import Group, Objective, Schedule, Term, check_objective, new_objective, register_objective
    from .pretrain import pretrain
    from .pretrain_context import pretrain_context
    from .tuning import FineTuning
