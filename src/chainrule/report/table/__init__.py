"""The report of a table: what was learned, how well, from which columns, against which baselines."""

from __future__ import annotations

from chainrule.report.table.baselines import Baseline, fit_baselines
from chainrule.report.table.findings import Comparison, TableFindings, examine_table

__all__ = ["Baseline", "Comparison", "TableFindings", "examine_table", "fit_baselines"]
