# Made by `make stubs` from the signatures: change those.
from ._batch_effect import batch_effect as batch_effect
from ._classification import classification as classification
from ._compare import compare_representations as compare_representations
from ._cross_modal import cross_modal as cross_modal
from ._retrieval import retrieval as retrieval
from ._survival import survival as survival

__all__ = [
    "batch_effect",
    "classification",
    "compare_representations",
    "cross_modal",
    "retrieval",
    "survival",
]
