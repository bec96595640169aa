"""Moves for the same benefit: Millwright beside two other rules on generated traces."""
