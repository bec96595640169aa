"""`python -m monitoring.rules`: write the rules of the shipped objectives beside this file, for those who copy them."""

from monitoring.objectives import shipped
from monitoring.prometheus import write_rules

from . import FOLDER

if __name__ == "__main__":
    write_rules(FOLDER, shipped())
