"""The search for local optima: climb, link, settle, merge, certify."""
