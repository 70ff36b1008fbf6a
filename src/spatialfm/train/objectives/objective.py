"""What every objective is: a module that holds the encoder and says what is minimised."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from ...models.encoder import Encoder
from ..batch import WindowSample

if TYPE_CHECKING:
    from ..data import Windows

Views = Callable[[WindowSample, np.random.Generator], Any]


@dataclass(frozen=True)
class Term:
    """One part of a loss: a sum, and over how many values it goes.

    The loss is the sum of ``weight * total / count`` over the terms, with totals and counts of all processes: two
    processes with half of a batch each then minimise what one minimises with all of it.

    Attributes
    ----------
    total
        Sum over the values.
    count
        Their number.
    weight
        Of the term in the loss.
    """

    total: Tensor
    count: Tensor | int
    weight: float = 1.0


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate and a weight decay.

    Attributes
    ----------
    parameters
        Names in the objective's `named_parameters`, with the parameters.
    lr_scale
        Factor on the learning rate of the step, such as that of a layer.
    decay
        Whether weight decay applies (not to biases, norms and scales of layers).
    last_layer
        Whether its learning rate is zero while the last layer is frozen.
    """

    parameters: dict[str, nn.Parameter]
    lr_scale: float = 1.0
    decay: bool = True
    last_layer: bool = False


@dataclass(frozen=True)
class Schedule:
    """Values of one step.

    Attributes
    ----------
    lr
        Learning rate.
    weight_decay
        Weight decay of the groups that have one.
    last_layer_lr
        Learning rate of the last layer of a head, which is 0 while it is frozen.
    extra
        What else an objective schedules, such as the teacher's momentum and temperature.
    """

    lr: float
    weight_decay: float
    last_layer_lr: float
    extra: dict[str, float] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """Base of all objectives.

    A subclass holds the encoder that is trained and all that is trained or kept beside it (heads, a teacher, centres)
    as submodules and buffers, so that `state_dict` is all that a checkpoint needs.

    Parameters
    ----------
    args, kwargs
        Of the subclass, which takes the encoder and its own settings.
    """

    encoder: Encoder
    name: str = ""
    of_batch: tuple[str, ...] = ()  # terms that are not sums over windows, such as distances between those of a batch
    batch_size: int | None = None  # windows of a step over all processes; the loop sets it before the first step

    @abstractmethod
    def views(self) -> Views:
        """What is made of a window before it reaches the network, such as crops and masks.

        It is run by the workers that read the images: it can be pickled and holds no network. All that is random comes
        from the generator that it is given.
        """

    @abstractmethod
    def forward(self, views: Sequence[Any]) -> dict[str, Term]:
        """Terms of the loss of the views of a batch, by name.

        Parameters
        ----------
        views
            What `views` made of each window of a batch.
        """

    @abstractmethod
    def groups(self) -> list[Group]:
        """All parameters that are trained, each once."""

    @abstractmethod
    def schedule(self, step: int, n_steps: int) -> Schedule:
        """Learning rate, weight decay and what else changes, at a step (from 0) of a run of so many.

        Parameters
        ----------
        step
            From 0.
        n_steps
            Of the whole run.
        """

    def begin(self, windows: Windows) -> None:
        """What is taken from the windows that are trained on, before a run begins or goes on, such as class weights.

        Parameters
        ----------
        windows
            Those that are trained on.
        """

    def before_step(self, schedule: Schedule) -> None:
        """What is set before a step, such as the temperature of a teacher.

        Parameters
        ----------
        schedule
            What `schedule` says of this step.
        """

    def after_step(self, schedule: Schedule) -> None:
        """What is done after the weights have changed, such as moving a teacher.

        Parameters
        ----------
        schedule
            What `schedule` says of this step.
        """

    def validate(self, views: Sequence[Any]) -> dict[str, Term]:
        """Scores of a batch of windows that are not trained on, as terms; default: the loss.

        Parameters
        ----------
        views
            As `forward` takes them.
        """
        return self.forward(views)

    def scores(self, means: Mapping[str, float]) -> dict[str, float]:
        """What is reported of a validation, from ``total / count`` of each of its terms over all batches.

        Default: these means. An objective whose score is not a mean, such as a correlation, makes it of several.

        Parameters
        ----------
        means
            ``total / count`` of each term of `validate`, by its name.
        """
        return dict(means)

    @property
    def clip_norm(self) -> float | None:
        """Largest norm of the gradient; None: not clipped."""
        return None

    def clip_parts(self) -> list[list[nn.Parameter]]:
        """Parameters whose gradient is clipped together; default: all that are trained."""
        return [[parameter for group in self.groups() for parameter in group.parameters.values()]]

    def result(self) -> Encoder:
        """The encoder that is saved at the end; a subclass may give its teacher's."""
        return self.encoder
