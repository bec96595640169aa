"""Machine reassignment of the ROADEF/EURO challenge 2012 through the placement solver."""
