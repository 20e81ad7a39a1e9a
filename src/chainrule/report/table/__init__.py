"""The report of a table: what was learned, how well, from which columns, against which baselines."""

from __future__ import annotations

from chainrule.report.table.baselines import Baseline, fit_baselines
from chainrule.report.table.columns import ColumnView, TargetView, view_columns, view_target
from chainrule.report.table.findings import Comparison, TableFindings, examine_table
from chainrule.report.table.influence import Dependence, Importance
from chainrule.report.table.page import table_report, write_table_report

__all__ = [
    "Baseline",
    "ColumnView",
    "Comparison",
    "Dependence",
    "Importance",
    "TableFindings",
    "TargetView",
    "examine_table",
    "fit_baselines",
    "table_report",
    "view_columns",
    "view_target",
    "write_table_report",
]
