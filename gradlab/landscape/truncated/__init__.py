"""Successively truncated landscapes, exact and learned."""
