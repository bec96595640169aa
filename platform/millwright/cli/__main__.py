"""`python -m millwright.cli`."""

from . import main

main()
