"""Requests, environments, machines, their operations and the history of their states."""
