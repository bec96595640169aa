"""A package, so that its installation ends with it."""
