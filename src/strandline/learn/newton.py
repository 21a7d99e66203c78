"""Minimise a smooth convex function of a few numbers, exactly and without randomness.

Calibration has two to a few hundred unknowns; Newton's method finds them in some ten
steps, needs no step size, and gives the same digits everywhere numpy does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats, Floats]]

_TOLERANCE = 1e-9
_HALVINGS = 40


def minimize(objective: Objective, start: Floats, steps: int = 100) -> Floats:
    """Return the argument of the minimum, by damped Newton steps (Boyd & Vandenberghe §9.5).

    Args:
        objective: returns value, gradient [d] and positive definite Hessian [d, d].
        start: first guess [d].
    """
    x = start
    value, gradient, hessian = objective(x)
    for _ in range(steps):
        direction = -np.linalg.solve(hessian, gradient)
        decrease = float(gradient @ direction)
        if -decrease < _TOLERANCE:
            break
        step = 1.0
        for _ in range(_HALVINGS):
            found = objective(x + step * direction)
            if found[0] <= value + 1e-4 * step * decrease:
                break
            step /= 2
        else:
            break
        x = x + step * direction
        value, gradient, hessian = found
    return x
