"""Templates that environments are built from."""
