"""Balancing of Ganeti's text files by hbal's own score."""
