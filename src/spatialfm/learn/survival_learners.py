"""The two learners behind the survival models, with the choice of their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._errors import SurvivalError
from ..stats.concordance import concordant_pairs
from ..stats.cox import baseline_hazard, partial_log_likelihoods
from .survival_nested import FittedSurvival, Model, SurvivalCases, preprocess, step_values

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline
    from sksurv.ensemble import RandomSurvivalForest

ROWS_AT_ONCE = 4000  # of shuffled patients: bounds the memory of their hazards


@dataclass(frozen=True)
class CoxnetFit(FittedSurvival):
    """Linear predictor on prepared features, 0 for the average training patient."""

    prepare: Pipeline
    coef: np.ndarray  # of prepared features
    steps: np.ndarray
    hazard: np.ndarray  # cumulative, of the average training patient

    def risk(self, x: np.ndarray) -> np.ndarray:
        """Logarithm of the hazard ratio to the average training patient."""
        return self.prepare.transform(x) @ self.coef  # standardised: the training mean is 0

    def survival(self, x: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Probability ``(n, n_times)`` of being without event."""
        hazard = step_values(self.steps, self.hazard[None, :], times, 0.0)
        return np.exp(-hazard * np.exp(np.minimum(self.risk(x), 50.0))[:, None])

    def explain(self, test: SurvivalCases | None) -> np.ndarray:
        """Coefficients of standardised features, through the principal components where there are any."""
        return self.coef if len(self.prepare) == 1 else self.coef @ self.prepare[-1].components_


@dataclass(frozen=True)
class CoxnetModel(Model):
    """Elastic-net Cox regression."""

    n_components: int | None
    l1_ratios: np.ndarray
    n_alphas: int

    def choose(self, train: SurvivalCases, folds: np.ndarray) -> dict[str, float]:
        """Penalty of highest cross-validated partial likelihood."""
        best = {"inner_score": -np.inf}
        prepared = preprocess(self.n_components).fit_transform(train.x)
        for ratio in self.l1_ratios:
            alphas = self._alphas(prepared, train, ratio)
            gained = np.zeros(alphas.size)
            for k in np.unique(folds):
                rest = train.part(folds != k)
                prepare = preprocess(self.n_components).fit(rest.x)
                coefs = _path(prepare.transform(rest.x), rest, alphas, ratio)
                linear = prepare.transform(train.x) @ coefs
                of_rest = partial_log_likelihoods(linear[folds != k], rest.time, rest.event)
                with np.errstate(invalid="ignore"):  # neither is finite where the path has no coefficients
                    gained += partial_log_likelihoods(linear, train.time, train.event) - of_rest
            gained = np.where(np.isfinite(gained), gained, -np.inf)
            i = int(np.argmax(gained))  # of equal ones, the strongest penalty
            if gained[i] > best["inner_score"]:
                best = {"alpha": float(alphas[i]), "l1_ratio": float(ratio), "inner_score": float(gained[i])}
        if "alpha" not in best:
            raise SurvivalError("No penalty gave a finite likelihood. Pass n_components=, or check extreme features.")
        return best

    def fit(self, train: SurvivalCases, chosen: dict[str, float]) -> CoxnetFit:
        """Fit with the chosen penalty, reached along the path."""
        prepare = preprocess(self.n_components)
        x = prepare.fit_transform(train.x)
        alphas = self._alphas(x, train, chosen["l1_ratio"])
        alphas = np.append(alphas[alphas > chosen["alpha"] * (1 + 1e-9)], chosen["alpha"])
        coef = _path(x, train, alphas, chosen["l1_ratio"])[:, -1]
        return CoxnetFit(prepare, coef, *baseline_hazard(x @ coef, train.time, train.event))

    def _alphas(self, x: np.ndarray, train: SurvivalCases, ratio: float) -> np.ndarray:
        """From the weakest penalty that leaves no feature down, in equal steps of its logarithm."""
        gradient = np.abs(_null_gradient(x, train)).max()
        highest = max(gradient / (len(x) * ratio), 1e-6) * (1 + 1e-6)
        return highest * np.geomspace(1, 0.05 if x.shape[0] < x.shape[1] else 0.01, self.n_alphas)


@dataclass(frozen=True)
class ForestFit(FittedSurvival):
    """A forest on prepared features."""

    prepare: Pipeline
    forest: RandomSurvivalForest
    average: float  # expected events of the average training patient
    n_importance: int
    random_state: int

    def risk(self, x: np.ndarray) -> np.ndarray:
        """Expected events relative to the average training patient."""
        return self.forest.predict(self.prepare.transform(x)) / self.average

    def survival(self, x: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Probability ``(n, n_times)`` of being without event."""
        curves = self.forest.predict_survival_function(self.prepare.transform(x), return_array=True)
        return np.clip(step_values(self.forest.unique_times_, curves, times, 1.0), 0, 1)

    def explain(self, test: SurvivalCases | None) -> np.ndarray:
        """Pairs in the right order that are lost by shuffling each feature ``(n_features + 1, n_importance)``.

        The last row is the number of comparable pairs.
        """
        n, p = test.x.shape
        rng = np.random.default_rng(self.random_state)
        right, pairs = concordant_pairs(test.time, test.event, self.risk(test.x))
        lost = np.full((p + 1, self.n_importance), float(pairs))
        orders = [rng.permutation(n) for _ in range(self.n_importance)]  # of all features, whichever stands first
        tasks = [(j, r, orders[r]) for j in range(p) for r in range(self.n_importance)]
        size = max(1, ROWS_AT_ONCE // n)
        for part in (tasks[start : start + size] for start in range(0, len(tasks), size)):
            copies = np.repeat(test.x[None], len(part), axis=0)
            for copy, (j, _, order) in zip(copies, part, strict=True):
                copy[:, j] = copy[order, j]
            risks = self.risk(copies.reshape(-1, p)).reshape(len(part), n)
            for risk, (j, r, _) in zip(risks, part, strict=True):
                lost[j, r] = right - concordant_pairs(test.time, test.event, risk)[0]
        return lost


@dataclass(frozen=True)
class ForestModel(Model):
    """Random survival forest."""

    n_components: int | None
    leaves: list[int]
    n_trees: int
    n_importance: int
    random_state: int

    def choose(self, train: SurvivalCases, folds: np.ndarray) -> dict[str, float]:
        """Size of leaves of highest concordance within inner folds."""
        if len(self.leaves) == 1:
            return {"min_samples_leaf": self.leaves[0], "inner_score": np.nan}
        scores = []
        for leaf in self.leaves:
            counts = []
            for k in np.unique(folds):
                fitted = self.fit(train.part(folds != k), {"min_samples_leaf": leaf})
                test = train.part(folds == k)
                counts.append(concordant_pairs(test.time, test.event, fitted.risk(test.x)))
            right, pairs = np.sum(counts, axis=0)
            scores.append(right / pairs if pairs else 0.5)
        best = int(np.argmax(scores))
        return {"min_samples_leaf": self.leaves[best], "inner_score": float(scores[best])}

    def fit(self, train: SurvivalCases, chosen: dict[str, float]) -> ForestFit:
        """Fit with the chosen size of leaves."""
        from sksurv.ensemble import RandomSurvivalForest
        from sksurv.util import Surv

        prepare = preprocess(self.n_components, ordered=True)
        x = prepare.fit_transform(train.x)
        forest = RandomSurvivalForest(
            self.n_trees, min_samples_leaf=int(chosen["min_samples_leaf"]), random_state=self.random_state
        ).fit(x, Surv.from_arrays(train.event, train.time))
        average = max(float(forest.predict(x).mean()), 1e-12)
        return ForestFit(prepare, forest, average, self.n_importance, self.random_state)


def _path(x: np.ndarray, train: SurvivalCases, alphas: np.ndarray, ratio: float) -> np.ndarray:
    """Coefficients ``(n_features, n_alphas)`` along falling penalties; NaN below where they overflow."""
    from sksurv.linear_model import CoxnetSurvivalAnalysis
    from sksurv.util import Surv

    y = Surv.from_arrays(train.event, train.time)
    coefs = np.full((x.shape[1], alphas.size), np.nan)
    nothing = np.abs(_null_gradient(x, train)).max() / (len(x) * ratio)
    free = alphas < nothing  # with the others no feature is left: nothing to fit
    coefs[:, ~free] = 0.0
    reach = int(free.sum())
    while reach:
        rows = np.flatnonzero(free)[:reach]
        try:
            model = CoxnetSurvivalAnalysis(alphas=alphas[rows], l1_ratio=ratio, tol=1e-9).fit(x, y)
        except ArithmeticError:  # features that separate the patients
            reach //= 2
            continue
        done = model.coef_.shape[1]  # the path ends early where a weaker penalty would explain no more
        coefs[:, rows[:done]] = model.coef_
        coefs[:, rows[done:]] = model.coef_[:, -1:]
        break
    return coefs


def _null_gradient(x: np.ndarray, train: SurvivalCases) -> np.ndarray:
    """Derivative of the partial likelihood (ties after Breslow) where all coefficients are 0."""
    steps, hazard = baseline_hazard(np.zeros(len(x)), train.time, train.event)
    return (train.event - hazard[np.searchsorted(steps, train.time)]) @ x
