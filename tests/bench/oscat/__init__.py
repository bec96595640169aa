"""What the blocks of the OSCAT libraries compute, held against tables of our own."""
