"""Hosts, cells, and the claims that keep CPUs and addresses from being given twice."""
