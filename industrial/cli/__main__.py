"""`python -m industrial.cli`."""

from . import main

main(prog_name="vplc")
