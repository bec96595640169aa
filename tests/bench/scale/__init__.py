"""How long the solver takes on a large pool."""
