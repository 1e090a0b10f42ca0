"""Calibrators: what they learn, against scikit-learn and slow definitions, and what they refuse."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from alphapulse.domain.decision.calibrators import Platt


def market(seed: int, n: int = 400, slope: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Scores and outcomes that a sigmoid of them explains."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.3, 1.5, n)
    return x, (rng.random(n) < 1 / (1 + np.exp(-(slope * x - 0.2)))).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_platt_is_logistic_regression_on_smoothed_targets(seed: int) -> None:
    x, y = market(seed)
    wins, losses = y.sum(), len(y) - y.sum()
    target = np.where(y == 1, (wins + 1) / (wins + 2), 1 / (losses + 2))
    oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    oracle.fit(
        np.concatenate([x, x])[:, None], np.repeat([1, 0], len(x)), np.concatenate([target, 1 - target])
    )
    found = Platt.fit(x, y)
    np.testing.assert_allclose([found.a, found.b], [oracle.coef_[0, 0], oracle.intercept_[0]], rtol=1e-6)
