"""Endpoints, a module per noun."""
