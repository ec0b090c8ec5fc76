"""The charts as a page: two for unfold's Chart.js, two lists of bars, and their values as text."""

import json
from typing import Any

from core.clock import get_database_time
from runs.charts.figures import DAYS, Day, Figures, read_figures

# Of the page: unfold's charts have one that no page loads.
FONT = {"family": "ui-sans-serif, system-ui, sans-serif"}
# Without colours: charts.js and unfold set those of the page.
OPTIONS: dict[str, Any] = {
    "animation": False,
    "responsive": True,
    "maintainAspectRatio": False,
    "scales": {
        "x": {
            "stacked": True,
            "grid": {"display": False},
            "ticks": {"maxRotation": 0, "autoSkipPadding": 16, "font": FONT},
        },
        "y": {
            "stacked": True,
            "beginAtZero": True,
            "ticks": {"maxTicksLimit": 6, "precision": 0, "font": FONT},
        },
    },
    "plugins": {
        "legend": {"align": "end", "labels": {"boxWidth": 10, "boxHeight": 10, "font": FONT}}
    },
}
LEAD = (("Minutes, median", "--color-primary-500", "minutes"),)
DEPLOYMENTS = (
    ("Deployed", "--color-primary-500", "deployed"),
    ("Failed", "--color-red-500", "failed"),
    ("Rolled back", "--color-orange-500", "rolled_back"),
)


def build_context() -> dict[str, Any]:
    """Return the template's context: the charts' data, and the same as rows of tables."""
    figures = read_figures(get_database_time())
    return {
        "title": f"The last {DAYS} days",
        "figures": figures,
        "chart_options": json.dumps(OPTIONS),
        "lead_chart": json.dumps(build_chart(figures.days, LEAD)),
        "deployment_chart": json.dumps(build_chart(figures.days, DEPLOYMENTS)),
        "days": [day for day in reversed(figures.days) if not day.is_empty],
        "failures": list_failures(figures),
        "slot_use": [{"slot": name, "share": round(100 * share)} for name, share in figures.slots],
    }


def build_chart(days: list[Day], series: tuple[tuple[str, str, str], ...]) -> dict[str, Any]:
    """Return the data of a chart for Chart.js, one bar for each day and series."""
    return {
        "labels": [f"{day.date:%m-%d}" for day in days],
        "datasets": [
            {
                "label": label,
                "data": [_get_value(day, name) for day in days],
                "backgroundColor": f"var({colour})",
                "borderRadius": 3,
                "maxBarThickness": 18,
            }
            for label, colour, name in series
        ],
    }


def _get_value(day: Day, name: str) -> float | None:
    if name == "minutes":
        return None if day.lead is None else round(day.lead.total_seconds() / 60, 1)
    return getattr(day, name)


def list_failures(figures: Figures) -> list[dict[str, Any]]:
    """Return the codes with the length of each bar, in percent of the most frequent one's."""
    most = max((number for _, number in figures.failures), default=1)
    return [
        {"code": code, "number": number, "share": round(100 * number / most)}
        for code, number in figures.failures
    ]
