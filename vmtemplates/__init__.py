"""Templates of virtual machines: description, build recipe, tests."""
