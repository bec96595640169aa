"""`python -m monitoring.agent`."""

from . import main

main()
