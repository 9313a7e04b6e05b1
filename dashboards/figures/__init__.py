"""One figure, one file: stored measurements in, a plotly Figure out."""
