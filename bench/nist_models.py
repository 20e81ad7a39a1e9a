"""The models of NIST's nonlinear regression problems as graphs: formulas of parameters and predictors."""

from __future__ import annotations

import math
from collections.abc import Callable

from chainrule.graph import Expr
from chainrule.ops import cos, exp, sin, sqrt

__all__ = ["MODELS", "arctan"]

Model = Callable[..., Expr]
"""(b₁, …, b_P, x₁, …) → the prediction, (rows,)"""


def arctan(z: Expr) -> Expr:
    """Four times half the angle, arctan z = 2 arctan(z/(1 + √(1 + z²))), then Taylor's series to z²¹."""
    for _ in range(4):
        z = z / (1 + sqrt(1 + z * z))
    square, series = z * z, 1 / 21
    for odd in range(19, 0, -2):
        series = 1 / odd - square * series
    return 16 * z * series


def misra1a(b1: Expr, b2: Expr, x: Expr) -> Expr:
    return b1 * (1 - exp(-b2 * x))


def misra1b(b1: Expr, b2: Expr, x: Expr) -> Expr:
    return b1 * (1 - (1 + b2 * x / 2) ** -2)


def misra1c(b1: Expr, b2: Expr, x: Expr) -> Expr:
    return b1 * (1 - (1 + 2 * b2 * x) ** -0.5)


def misra1d(b1: Expr, b2: Expr, x: Expr) -> Expr:
    return b1 * b2 * x / (1 + b2 * x)


def chwirut(b1: Expr, b2: Expr, b3: Expr, x: Expr) -> Expr:
    return exp(-b1 * x) / (b2 + b3 * x)


def danwood(b1: Expr, b2: Expr, x: Expr) -> Expr:
    return b1 * x**b2


def gauss(
    b1: Expr, b2: Expr, b3: Expr, b4: Expr, b5: Expr, b6: Expr, b7: Expr, b8: Expr, x: Expr
) -> Expr:  # fmt: skip
    return b1 * exp(-b2 * x) + b3 * exp(-((x - b4) ** 2) / b5**2) + b6 * exp(-((x - b7) ** 2) / b8**2)


def lanczos(b1: Expr, b2: Expr, b3: Expr, b4: Expr, b5: Expr, b6: Expr, x: Expr) -> Expr:
    return b1 * exp(-b2 * x) + b3 * exp(-b4 * x) + b5 * exp(-b6 * x)


def enso(
    b1: Expr, b2: Expr, b3: Expr, b4: Expr, b5: Expr, b6: Expr, b7: Expr, b8: Expr, b9: Expr, x: Expr
) -> Expr:  # fmt: skip
    year, second, third = (2 * math.pi * x / period for period in (12, b4, b7))
    return (
        b1 + b2 * cos(year) + b3 * sin(year) + b5 * cos(second) + b6 * sin(second)
        + b8 * cos(third) + b9 * sin(third)
    )  # fmt: skip


def cubics(b1: Expr, b2: Expr, b3: Expr, b4: Expr, b5: Expr, b6: Expr, b7: Expr, x: Expr) -> Expr:
    return (b1 + x * (b2 + x * (b3 + x * b4))) / (1 + x * (b5 + x * (b6 + x * b7)))


def kirby2(b1: Expr, b2: Expr, b3: Expr, b4: Expr, b5: Expr, x: Expr) -> Expr:
    return (b1 + x * (b2 + x * b3)) / (1 + x * (b4 + x * b5))


def mgh09(b1: Expr, b2: Expr, b3: Expr, b4: Expr, x: Expr) -> Expr:
    return b1 * (x**2 + x * b2) / (x**2 + x * b3 + b4)


def mgh10(b1: Expr, b2: Expr, b3: Expr, x: Expr) -> Expr:
    return b1 * exp(b2 / (x + b3))


def mgh17(b1: Expr, b2: Expr, b3: Expr, b4: Expr, b5: Expr, x: Expr) -> Expr:
    return b1 + b2 * exp(-x * b4) + b3 * exp(-x * b5)


def nelson(b1: Expr, b2: Expr, b3: Expr, x1: Expr, x2: Expr) -> Expr:
    """Of log y."""
    return b1 - b2 * x1 * exp(-b3 * x2)


def roszman1(b1: Expr, b2: Expr, b3: Expr, b4: Expr, x: Expr) -> Expr:
    return b1 - b2 * x - arctan(b3 / (x - b4)) / math.pi


def bennett5(b1: Expr, b2: Expr, b3: Expr, x: Expr) -> Expr:
    return b1 * (b2 + x) ** (-1 / b3)


def eckerle4(b1: Expr, b2: Expr, b3: Expr, x: Expr) -> Expr:
    return b1 / b2 * exp(-0.5 * ((x - b3) / b2) ** 2)


def rat42(b1: Expr, b2: Expr, b3: Expr, x: Expr) -> Expr:
    return b1 / (1 + exp(b2 - b3 * x))


def rat43(b1: Expr, b2: Expr, b3: Expr, b4: Expr, x: Expr) -> Expr:
    return b1 / (1 + exp(b2 - b3 * x)) ** (1 / b4)


MODELS: dict[str, Model] = {
    "Misra1a": misra1a, "Misra1b": misra1b, "Misra1c": misra1c, "Misra1d": misra1d, "Chwirut1": chwirut,
    "Chwirut2": chwirut, "DanWood": danwood, "Gauss1": gauss, "Gauss2": gauss, "Gauss3": gauss,
    "Lanczos1": lanczos, "Lanczos2": lanczos, "Lanczos3": lanczos, "ENSO": enso, "Hahn1": cubics,
    "Thurber": cubics, "Kirby2": kirby2, "MGH09": mgh09, "MGH10": mgh10, "MGH17": mgh17, "Nelson": nelson,
    "Roszman1": roszman1, "Bennett5": bennett5, "BoxBOD": misra1a, "Eckerle4": eckerle4, "Rat42": rat42,
    "Rat43": rat43,
}  # fmt: skip
