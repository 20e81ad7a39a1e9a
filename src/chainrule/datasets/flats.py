"""A made-up table: adverts of flats, with columns of every kind and with gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["flats"]

_DISTRICTS = ("Harbour", "Old Town", "Mill Hill", "Northfield", "Riverside", "Station", "Westend", "Parkside")
_LEVELS = (2.4, 3.1, 1.0, 0.2, 2.0, 0.8, 2.7, 1.5)  # of rents, per square metre, above the cheapest
_CONDITIONS = ("poor", "fair", "good", "excellent")
_HEATING = ("gas", "district", "heat pump", "electric")


def flats(n: int = 6000, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Columns by name, of ``n`` adverts that nobody placed; ``rent`` follows from the others, but for 7 %.

    advert id  a number of its own             district   one of eight
    size       square metres, some missing     condition  poor, fair, good, excellent; some missing
    rooms      1 … 6                           balcony    yes, no
    floor      0 … 12                          heating    one of four, some missing
    built      a year, some missing            listed     a date
    rent       a month, in no currency

    The rent of a square metre falls with the size, depends on the district (and there on the floor), on the
    condition (more in old houses), and rose by 4 % a year.

    >>> table = flats(100)
    >>> len(table), table["district"][:2].tolist(), bool(table["rent"].min() > 0)
    (11, ['Riverside', 'Old Town'], True)
    """
    rng = np.random.default_rng(seed)
    size = rng.gamma(6.0, 11.0, n).clip(16, 220).round(1)
    rooms = np.clip(np.round(size / 27 + rng.normal(0, 0.5, n)), 1, 6).astype(np.int64)
    floor = np.minimum(rng.geometric(0.28, n) - 1, 12)
    built = np.where(rng.random(n) < 0.35, rng.integers(1880, 1935, n), rng.integers(1950, 2024, n))
    district = rng.integers(0, len(_DISTRICTS), n)
    condition = np.clip(rng.normal(1.2 + (built > 1995) * 0.9, 0.9, n).round(), 0, 3).astype(np.int64)
    balcony = rng.random(n) < 0.3 + 0.3 * (built > 1960)
    heating = rng.choice(len(_HEATING), n, p=[0.45, 0.3, 0.15, 0.1])
    days = rng.integers(0, 3 * 365, n)
    view = np.array([0.35, 0.0, 0.1, 0.0, 0.3, 0.0, 0.05, 0.1])[district] * np.minimum(floor, 6)
    old = built < 1940
    metre = (
        9.5 + np.array(_LEVELS)[district] + view
        + (0.7 + 0.6 * old) * condition - 1.5 * (old & (condition == 0))
        + 0.8 * balcony - 0.9 * (heating == 3) + 0.6 * (heating == 2)
        + 18.0 / np.sqrt(size)
    )  # fmt: skip
    rent = size**0.93 * metre * 1.04 ** (days / 365) * np.exp(rng.normal(0, 0.07, n))
    texts = {
        "district": np.array(_DISTRICTS, object)[district],
        "condition": np.array(_CONDITIONS, object)[condition],
        "balcony": np.array(["no", "yes"], object)[balcony.astype(np.int64)],
        "heating": np.array(_HEATING, object)[heating],
    }
    for name, share in (("condition", 0.06), ("heating", 0.1)):
        texts[name][rng.random(n) < share] = None
    return {
        "advert id": 100_000 + rng.permutation(900_000)[:n],
        "listed": np.datetime64("2022-01-01", "D") + days.astype("timedelta64[D]"),
        "district": texts["district"],
        "size": np.where(rng.random(n) < 0.03, np.nan, size),
        "rooms": rooms,
        "floor": floor,
        "built": np.where(rng.random(n) < 0.08, np.nan, built),
        "condition": texts["condition"],
        "balcony": texts["balcony"],
        "heating": texts["heating"],
        "rent": rent.round(),
    }
