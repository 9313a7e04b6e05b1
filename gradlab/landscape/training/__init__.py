"""A landscape while training goes on."""
