"""Looking: stored measurements as plotly figures, a live Dash app and a report."""
