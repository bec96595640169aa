"""A cantilever as a CalculiX model, and its deflection by hand."""

from __future__ import annotations

#: metres, newtons, pascals
LENGTH, WIDTH, HEIGHT, FORCE, MODULUS, POISSON = 1.0, 0.1, 0.1, 1000.0, 210e9, 0.3
ELEMENTS = 20


def model() -> str:
    """The beam of twenty-node bricks, clamped at x = 0, loaded across at its tip."""
    nodes: dict[tuple[int, int, int], int] = {}

    def node(x: int, y: int, z: int) -> int:
        return nodes.setdefault((x, y, z), len(nodes) + 1)

    # Corners, then the middles of the edges below, above and between, in CalculiX's order.
    corners = [(0, 0, 0), (2, 0, 0), (2, 2, 0), (0, 2, 0), (0, 0, 2), (2, 0, 2), (2, 2, 2), (0, 2, 2)]  # fmt: skip
    edges = [(1, 0, 0), (2, 1, 0), (1, 2, 0), (0, 1, 0), (1, 0, 2), (2, 1, 2), (1, 2, 2), (0, 1, 2),
             (0, 0, 1), (2, 0, 1), (2, 2, 1), (0, 2, 1)]  # fmt: skip
    elements = [
        [node(2 * index + x, y, z) for x, y, z in corners + edges] for index in range(ELEMENTS)
    ]
    step = LENGTH / (2 * ELEMENTS)
    lines = ["*NODE, NSET=ALL"]
    lines += [
        f"{number}, {x * step:.6f}, {y * WIDTH / 2:.6f}, {z * HEIGHT / 2:.6f}"
        for (x, y, z), number in nodes.items()
    ]
    lines.append("*ELEMENT, TYPE=C3D20R, ELSET=BEAM")
    for number, parts in enumerate(elements, 1):
        words = [str(part) for part in parts]
        lines += [f"{number}, {', '.join(words[:10])},", ", ".join(words[10:])]
    clamped = [number for (x, _, _), number in nodes.items() if x == 0]
    # An even load on a quadratic face: its middles carry a third each, its corners pull back a twelfth.
    tip = {
        number: -1 / 12 if y != 1 and z != 1 else 1 / 3
        for (x, y, z), number in nodes.items()
        if x == 2 * ELEMENTS
    }
    lines += ["*NSET, NSET=CLAMPED", *(f"{number}," for number in clamped)]
    lines += ["*NSET, NSET=TIP", *(f"{number}," for number in tip)]
    lines += [
        "*BOUNDARY", "CLAMPED, 1, 3", "*MATERIAL, NAME=STEEL", "*ELASTIC", f"{MODULUS:.6g}, {POISSON}",
        "*SOLID SECTION, ELSET=BEAM, MATERIAL=STEEL", "*STEP", "*STATIC", "*CLOAD",
        *(f"{number}, 3, {-FORCE * share:.9g}" for number, share in tip.items()),
        "*NODE PRINT, NSET=TIP", "U", "*END STEP",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def by_hand() -> float:
    """Tip deflection in metres by Timoshenko's beam: bending and shear."""
    inertia, area = WIDTH * HEIGHT**3 / 12, WIDTH * HEIGHT
    shear = MODULUS / (2 * (1 + POISSON))
    return FORCE * LENGTH**3 / (3 * MODULUS * inertia) + FORCE * LENGTH / (5 / 6 * shear * area)


def deflection(results: str) -> float:
    """Mean tip deflection in metres, from CalculiX's .dat file.

    Raises:
        ValueError: there is none in it.
    """
    values = []
    for line in results.splitlines():
        words = line.split()
        if len(words) == 4 and words[0].isdigit():
            values.append(-float(words[3]))
    if not values:
        raise ValueError("no displacements in the results")
    return sum(values) / len(values)
