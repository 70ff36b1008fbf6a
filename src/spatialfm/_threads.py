"""Linear algebra in one thread: what is found does not depend on how many processors there are.

With more threads, sums are added in other parts and rounded otherwise, by a millionth. A clustering, a nearest
neighbour among equal rows, a rank or a fit that stops at a tolerance makes another result of that. The limit is of
BLAS and OpenMP, of scikit-learn and torch too; networks that read images are not limited: theirs is rounding alone.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Context, or decorator of functions, in which BLAS and OpenMP have one thread."""
    with _libraries(len(sys.modules)).limit(limits=1):
        yield


@functools.lru_cache(maxsize=1)
def _libraries(n_modules: int) -> ThreadpoolController:
    """Those that are loaded; looking for them takes 20 ms, and is done again where an import may have brought one."""
    import scipy.linalg  # noqa: F401
    import sklearn.utils  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
