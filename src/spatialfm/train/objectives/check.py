"""What holds for every objective, checked on windows that are given: for those of the package, and for anybody's."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..._errors import ArgumentError
from ..._public import public
from ..batch import WindowSample, random_of
from .objective import Objective, Term

N_STEPS = 20


class _Broken(Exception):
    """A check that an objective does not pass; the text names the reason."""


@dataclass(frozen=True)
class _Trial:
    """An objective, and the views of a batch; each check has a copy of its own."""

    objective: Objective
    views: list[Any]

    def fresh(self) -> Objective:
        """A copy, in training mode, that is ready for a step."""
        one = deepcopy(self.objective).train()
        one.batch_size = len(self.views)
        one.before_step(one.schedule(1, N_STEPS))
        return one


@public
def check_objective(
    objective: Objective, windows: Sequence[WindowSample], *, raise_error: bool = True, random_state: int = 0
) -> pd.DataFrame:
    """Check that the loop can train an objective: that a run resumes, and that several processes do what one does.

    Parameters
    ----------
    objective
        The objective. It is left as it is; its encoder is to be in memory twice.
    windows
        Two windows or more, as `spatialfm.train.Windows` gives them.
    raise_error
        Whether a check that fails is an error; otherwise it is in the table.
    random_state
        Seed of what is random of the views.

    Returns
    -------
    One row per check: its name, what it asks, whether it passed, and how it failed (``""`` where it did not).

    Raises
    ------
    ArgumentError
        If there are fewer than two windows; and if a check fails, all that fail are named.

    Examples
    --------
    >>> import torch
    >>> import spatialfm as sfm
    >>> from spatialfm.train.batch import WindowSample
    >>> from spatialfm.train import check_objective, new_objective
    >>> encoder = sfm.models.new_encoder("virtues", dim=16, depth=2, heads=2, decoder_depth=1, marker_dim=5)
    >>> windows = [WindowSample(torch.rand(3, 16, 16), torch.rand(3, 5), ("a", "b", "c"), i) for i in range(4)]
    >>> bool(check_objective(new_objective("masked", encoder), windows)["passed"].all())
    True
    """
    if len(windows) < 2:
        raise ArgumentError(f"windows= must have two windows or more, got {len(windows)}.")
    rows = []
    try:
        trial = _Trial(objective, _views(objective, windows, random_state))
    except Exception as error:  # whatever its author's code raises is what is wrong with it
        rows.append(("views", inspect.getdoc(_views), False, _in_words(error)))
    else:
        rows.append(("views", inspect.getdoc(_views), True, ""))
        for check in (_terms, _additive, _groups, _gradients, _schedule, _resumed, _validation):
            failure = _failure(check, trial)
            rows.append((check.__name__[1:], inspect.getdoc(check), not failure, failure))
    table = pd.DataFrame(rows, columns=["check", "what", "passed", "failure"]).set_index("check")
    failed = table[~table["passed"]]
    if raise_error and len(failed):
        name, failures = objective.name or type(objective).__name__, failed["failure"].items()
        raise ArgumentError(
            f"Objective {name!r} fails {len(failed)} of {len(table)} checks. "
            f"{'; '.join(f'{check}: {failure}' for check, failure in failures)}."
        )
    return table


def _failure(check: Callable[[_Trial], None], trial: _Trial) -> str:
    try:
        check(trial)
    except Exception as error:
        return _in_words(error)
    return ""


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, _Broken) else f"{type(error).__name__}: {error}"


def _equal(one: Any, other: Any) -> bool:
    """Whether views are the same, whatever they are made of."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one.nan_to_num(nan=-1e30), other.nan_to_num(nan=-1e30))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if is_dataclass(one) and not isinstance(one, type):
        return all(_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _views(objective: Objective, windows: Sequence[WindowSample], seed: int) -> list[Any]:
    """They can be sent to a worker, change no window, and come again."""
    make = objective.views()
    try:
        make = pickle.loads(pickle.dumps(make))
    except Exception as error:  # of the version of Python, and of what the object does when it is sent
        raise _Broken(f"they cannot be sent to a worker by pickle: {error}") from error
    before = [window.pixels.clone() for window in windows]
    first, again = (
        [make(window, random_of(seed, 0, place, 2)) for place, window in enumerate(windows)] for _ in range(2)
    )
    if any(not torch.equal(window.pixels, pixels) for window, pixels in zip(windows, before, strict=True)):
        raise _Broken("they change the pixels of the window")
    if not _equal(first, again):
        raise _Broken("the same random numbers give other views; draw from the generator that is given alone")
    return first


def _terms(trial: _Trial) -> None:
    """They are numbers, are at least one, and come again."""
    one = trial.fresh()
    first, again = one(trial.views), trial.fresh()(trial.views)
    if not first:
        raise _Broken("there are none")
    for name, term in first.items():
        if not isinstance(term, Term) or term.total.ndim:
            raise _Broken(f"{name!r} is not a Term of one number")
        if not torch.isfinite(term.total) or not float(term.count) >= 0:
            raise _Broken(f"{name!r} is {float(term.total)} of {float(term.count)} values")
        if not torch.equal(term.total, again[name].total):
            raise _Broken(f"{name!r} has another value at a second call: what is random belongs into the views")


def _additive(trial: _Trial) -> None:
    """Terms of two parts of a batch add up to those of the whole, as they do over processes."""
    objective, half = trial.fresh().eval(), len(trial.views) // 2
    with torch.no_grad():
        whole, first, second = (objective(part) for part in (trial.views, trial.views[:half], trial.views[half:]))
    for name, term in whole.items():
        if name not in first or name not in second:
            raise _Broken(f"{name!r} is missing for a part of the batch; all processes must have the same terms")
        if name in objective.of_batch:
            continue
        both, count = first[name].total + second[name].total, float(first[name].count) + float(second[name].count)
        scale = float(first[name].total.abs() + second[name].total.abs())
        if abs(count - float(term.count)) > 1e-6 * max(1, count) or abs(float(both - term.total)) > 1e-4 * scale + 1e-6:
            raise _Broken(
                f"{name!r} is {float(term.total):.6g} of {float(term.count):g} values for a batch, and "
                f"{float(both):.6g} of {count:g} for its two halves; give sums and counts, or name it in of_batch"
            )


def _groups(trial: _Trial) -> None:
    """Each parameter that wants gradients is in one group."""
    objective = trial.fresh()
    grouped = [id(one) for group in objective.groups() for one in group.parameters.values()]
    if len(set(grouped)) < len(grouped):
        raise _Broken("a parameter is in two groups")
    left = [name for name, one in objective.named_parameters() if one.requires_grad and id(one) not in set(grouped)]
    if left:
        raise _Broken(f"{left[0]!r} is in no group, so that it would never change")


def _gradients(trial: _Trial) -> None:
    """Each parameter that is trained has a finite gradient, which several processes need."""
    objective = trial.fresh()
    terms = objective(trial.views)
    loss = torch.stack([term.weight * term.total / max(float(term.count), 1) for term in terms.values()]).sum()
    loss.backward()
    for group in objective.groups():
        for name, parameter in group.parameters.items():
            if parameter.grad is None:
                raise _Broken(f"{name!r} has no gradient; set requires_grad to False where it is not trained")
            if not torch.isfinite(parameter.grad).all():
                raise _Broken(f"the gradient of {name!r} is not finite")


def _schedule(trial: _Trial) -> None:
    """Rates are finite and not negative at every step."""
    objective = trial.fresh()
    for n_steps in (1, 2, N_STEPS):
        for step in range(n_steps):
            values = objective.schedule(step, n_steps)
            for name in ("lr", "weight_decay", "last_layer_lr"):
                value = getattr(values, name)
                if not 0 <= value < float("inf"):
                    raise _Broken(f"{name} is {value} at step {step} of {n_steps}")


def _resumed(trial: _Trial) -> None:
    """What state_dict holds is all that a run needs to go on."""
    objective = trial.fresh()
    values = objective.schedule(1, N_STEPS)
    objective(trial.views)
    with torch.no_grad():
        for group in objective.groups():
            for parameter in group.parameters.values():
                parameter.add_(0.01)
    objective.after_step(values)
    resumed = trial.fresh()
    resumed.load_state_dict(objective.state_dict())
    for one in (objective, resumed):
        one.before_step(objective.schedule(2, N_STEPS))
    expected, got = objective(trial.views), resumed(trial.views)
    for name, term in expected.items():
        if not torch.equal(term.total, got[name].total):
            raise _Broken(f"{name!r} is another one after state_dict was loaded: keep state in parameters and buffers")


def _validation(trial: _Trial) -> None:
    """It changes nothing, and gives scores."""
    objective = trial.fresh().eval()
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    with torch.no_grad():
        terms = objective.validate(trial.views)
    scores = objective.scores(
        {name: float(term.total) / float(term.count) for name, term in terms.items() if float(term.count) > 0}
    )
    if not scores:
        raise _Broken("there are no scores")
    changed = [name for name, tensor in objective.state_dict().items() if not torch.equal(tensor, before[name])]
    if changed:
        raise _Broken(f"it changes {changed[0]!r}")
