"""The pages of the dashboard, one file a page, in the order of their keys from 1 on."""

from dashboards.pages import critic, curvature, field, gradient, landscape, overview, run
from dashboards.pages.page import Page, Query, Seen

PAGES: tuple[Page, ...] = (
    overview.PAGE,
    gradient.PAGE,
    field.PAGE,
    landscape.PAGE,
    curvature.PAGE,
    critic.PAGE,
    run.PAGE,
)

__all__ = ["PAGES", "Page", "Query", "Seen"]
