"""How far the placement solver is from the optimum of small instances."""
