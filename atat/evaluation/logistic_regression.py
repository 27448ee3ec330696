"""Logistic regression: how probably an example is right, of its measures."""

# N examples, K measures, J = K + 1 with the bias

import numpy as np

from atat.inference.confidence import sigmoid


class CannotFitError(ValueError):
    """Examples that no probability can be learned from."""


def fit(
    x_NK: np.ndarray, right_N: np.ndarray, share_N: np.ndarray, l2: float = 1.0
) -> tuple[np.ndarray, float]:
    """Logistic regression by Newton's method, with an L2 penalty on the weights, not the bias.

    Args:
        x_NK: standardised measures, float.
        right_N: bool.
        share_N: weight of each example, float; their sum counts against the penalty.
        l2: half of it times the squared weights is added to the weighted negative log-likelihood.

    Returns:
        weights float64 (K,), and the bias.

    Raises:
        CannotFitError: all are right, or none is.
    """
    if right_N.all() or not right_N.any():
        raise CannotFitError(
            f"got {len(right_N)} examples that are all {'right' if right_N[0] else 'wrong'}, "
            "expected some of both to fit confidence on"
        )
    design_NJ = np.column_stack([x_NK, np.ones(len(x_NK))])
    penalty_J = np.full(design_NJ.shape[1], l2)
    penalty_J[-1] = 1e-6

    def loss(w_J: np.ndarray) -> float:
        logit_N = design_NJ @ w_J
        return share_N @ (np.logaddexp(0, logit_N) - right_N * logit_N) + penalty_J @ w_J**2 / 2

    w_J = np.zeros(design_NJ.shape[1])
    for _ in range(100):
        p_N = sigmoid(design_NJ @ w_J)
        gradient_J = design_NJ.T @ (share_N * (p_N - right_N)) + penalty_J * w_J
        hessian_JJ = (design_NJ.T * (share_N * p_N * (1 - p_N))) @ design_NJ + np.diag(penalty_J)
        step_J = np.linalg.solve(hessian_JJ, gradient_J)
        size = 1.0  # halved where a whole step would overshoot
        while loss(w_J - size * step_J) > loss(w_J) and size > 1e-6:
            size /= 2
        w_J = w_J - size * step_J
        if np.abs(step_J).max() < 1e-8:
            break
    return w_J[:-1], float(w_J[-1])
