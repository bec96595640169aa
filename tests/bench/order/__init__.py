"""Orders of random tight exchanges, against a lower bound."""
