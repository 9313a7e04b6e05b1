"""The report: one HTML file of a run or several, which needs no server, no network and no store."""

from dashboards.reports.write import report_html, write_report

__all__ = ["report_html", "write_report"]
