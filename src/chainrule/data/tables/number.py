"""Numbers and dates as features: scaled, gaps marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.data.tables.cast import as_dates, as_numbers
from chainrule.data.tables.encoder import ColumnEncoder, Notes, check_fits
from chainrule.data.tables.moments import Sample, quantiles
from chainrule.data.tables.profile import ColumnProfile, as_years
from chainrule.data.tables.table import Array
from chainrule.errors import ConfigError, DataError, nearest

__all__ = ["SCALINGS", "Date", "Number", "parts_of"]

SCALINGS = ("standard", "robust", "minmax", "quantile", "none")
PARTS = ("year", "season", "weekday", "hour")

_KNOTS = 1000
_ROUNDING = 1e-14


@dataclass(frozen=True)
class Number(ColumnEncoder):
    """A number, scaled; gaps become 0, which is the mean (the median), and are marked where training had any.

    scaling
        "standard"   (x − mean) / std, std of what is there (divided by Σw)
        "robust"     (x − median) / (third − first quartile); by std where the quartiles agree
        "minmax"     (x − min) / (max − min), 0 … 1 in training; gaps become 0 here, too, which is the least
        "quantile"   the place of x among the training values, as a normal deviate: linear between up to 1,000
                     quantiles x_p and Φ⁻¹(p), p held within [½/n, 1 − ½/n]; equal values share their mean p
        "none"       x

    A column without spread is only centred. Statistics are float64 and weighted; quantiles are of 65,536 rows
    where there are more.

    >>> Number("age", missing=True).features
    ('age', 'age is missing')
    """

    scaling: str = "standard"
    kind: ClassVar[str] = "numeric"

    def __post_init__(self) -> None:
        if self.scaling not in SCALINGS:
            raise ConfigError(f"unknown scaling {self.scaling!r}; {nearest(self.scaling, SCALINGS)}")

    @property
    def features(self) -> tuple[str, ...]:
        return (self.name, *self._gap_feature)

    def fit(self, profile: ColumnProfile, sample: Sample) -> dict[str, Array]:
        if self.scaling == "none":
            return {}
        if self.scaling == "standard":
            return _standard(profile)
        if self.scaling == "minmax" and np.isfinite(profile.low):
            return _between(profile)
        values = sample.columns.get(self.name, np.full(len(sample.keys), np.nan))
        present = ~np.isnan(values)
        if not present.any():  # such as text that is read as numbers: its profile knows the moments alone
            return _standard(profile)
        weight = None if (sample.weight == 1).all() else sample.weight[present]
        if self.scaling == "robust":
            return _robust(values[present], weight, profile)
        return _knots(values[present].astype(np.float64), weight)

    def encode(self, column: Array, state: Mapping[str, Array], out: Array, notes: Notes) -> None:
        values = as_numbers(column, self.name)
        gaps = np.isnan(values)
        if self.scaling == "none":
            scaled = values
        elif "knots" in state:
            scaled = np.interp(values, state["knots"], state["heights"])
        else:
            scaled = (values - state["mean"]) / state["scale"]
        if any_gap := bool(gaps.any()):
            scaled = np.where(gaps, 0.0, scaled)
        check_fits(scaled, self.name, out)
        out[:, 0] = scaled
        if any_gap or self.missing:
            self._fill(gaps, out, notes)


def _standard(profile: ColumnProfile) -> dict[str, Array]:
    mean, std = profile.moments.mean, profile.moments.std
    if not np.isfinite(mean) or not np.isfinite(std):
        raise DataError(
            f"column {profile.name!r} holds values up to {max(-profile.low, profile.high):.3g}, whose "
            "squares leave float64; give its logarithm, or scaling='quantile'"
        )
    return _scalars(mean, std if std > _ROUNDING * abs(mean) else 1.0)


def _between(profile: ColumnProfile) -> dict[str, Array]:
    reach = profile.high - profile.low
    if not np.isfinite(reach):
        raise DataError(
            f"column {profile.name!r} reaches from {profile.low:.3g} to {profile.high:.3g}, which is more "
            "than float64 holds; give its logarithm, or scaling='quantile'"
        )
    return _scalars(profile.low, reach if reach > _ROUNDING * abs(profile.high) else 1.0)


def _scalars(mean: float, scale: float) -> dict[str, Array]:
    return {"mean": np.array(mean), "scale": np.array(scale)}


def _robust(values: Array, weight: Array | None, profile: ColumnProfile) -> dict[str, Array]:
    low, middle, high = quantiles(values, np.array([0.25, 0.5, 0.75]), weight).tolist()
    spread = high - low
    if spread <= _ROUNDING * abs(middle):
        spread = float(_standard(profile)["scale"])
    return _scalars(middle, spread)


def _knots(values: Array, weight: Array | None) -> dict[str, Array]:
    from statistics import NormalDist

    at = np.linspace(0, 1, min(_KNOTS, len(values)))
    knots = quantiles(values, at, weight) if len(values) > 1 else values
    least = 0.5 / len(values)
    different, inverse = np.unique(knots, return_inverse=True)
    share = np.bincount(inverse, at) / np.bincount(inverse)
    inverse_normal = NormalDist().inv_cdf
    heights = [inverse_normal(p) for p in np.clip(share, least, 1 - least).tolist()]
    return {"knots": different, "heights": np.array(heights)}


@dataclass(frozen=True)
class Date(ColumnEncoder):
    """A point in time: the year with its fraction, standardised, and what recurs as points on a circle.

    parts    "year" (2024.5 is the middle of 2024); "season", "weekday", "hour" as (sin, cos) of 2π times the
             share of the year, the week, the day that is over. Only what varies is worth a feature

    Gaps become 0 in all parts, and are marked where training had any.

    >>> Date("born", parts=("year", "weekday")).features
    ('born year', 'born weekday sin', 'born weekday cos')
    """

    parts: tuple[str, ...] = PARTS
    kind: ClassVar[str] = "date"

    def __post_init__(self) -> None:
        if wrong := [part for part in self.parts if part not in PARTS]:
            raise ConfigError(f"unknown part of a date {wrong[0]!r}; {nearest(wrong[0], PARTS)}")

    @property
    def features(self) -> tuple[str, ...]:
        names = [
            name
            for part in self.parts
            for name in ([part] if part == "year" else [f"{part} sin", f"{part} cos"])
        ]
        return (*(f"{self.name} {name}" for name in names), *self._gap_feature)

    def fit(self, profile: ColumnProfile, sample: Sample) -> dict[str, Array]:
        return _standard(profile) if "year" in self.parts else {}

    def encode(self, column: Array, state: Mapping[str, Array], out: Array, notes: Notes) -> None:
        when = as_dates(column, self.name)
        gaps, place = np.isnat(when), 0
        for part in self.parts:
            if part == "year":
                found = [(as_years(when) - state["mean"]) / state["scale"]]
            else:
                angle = 2 * np.pi * _share(when, part)
                found = [np.sin(angle), np.cos(angle)]
            for values in found:
                out[:, place] = np.where(gaps, 0.0, values)
                place += 1
        self._fill(gaps, out, notes)


def _share(when: Array, part: str) -> Array:
    """Of the year, the week, the day: what is over of it."""
    if part == "season":
        start = when.astype("datetime64[Y]")
        return (when - start) / ((start + 1).astype("datetime64[us]") - start.astype("datetime64[us]"))
    day = when.astype("datetime64[D]")
    if part == "hour":
        return (when - day) / np.timedelta64(1, "D")
    monday = np.datetime64("1970-01-05", "us")
    weeks = (when - monday) / np.timedelta64(7, "D")
    return weeks - np.floor(weeks)


def parts_of(profile: ColumnProfile) -> tuple[str, ...]:
    """The parts of a date that vary."""
    if not profile.seen:
        return ("year",)
    months, weekdays, hours = (int(np.count_nonzero(seen)) for seen in profile.seen)
    varies = {"year": True, "season": months > 1, "weekday": weekdays > 1, "hour": hours > 1}
    return tuple(part for part in PARTS if varies[part])
