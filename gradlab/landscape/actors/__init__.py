"""Several actors, and actions mapped to items."""
