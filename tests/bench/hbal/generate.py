"""`python -m tests.bench.hbal.generate --nodes 40 --each 15 --template drbd --seed 1 > FILE.data`"""

from __future__ import annotations

import argparse
import random

#: MiB of each node.
MEMORY, DISK = 131072, 4_000_000


def text(
    seed: int, *, nodes: int = 6, each: int = 7, template: str = "drbd", drained: bool = False
) -> str:
    """A file of one group: machines of uneven sizes, more of them on the first nodes."""
    dice = random.Random(seed)  # noqa: S311  # play, not secrets
    used, disk = [0] * nodes, [0] * nodes
    machines = []
    for number in range(nodes * each):
        size, space = dice.choice([1024, 2048, 4096]), dice.choice([10240, 40960])
        cpus = dice.choice([1, 1, 2])
        first = min(dice.randrange(nodes), dice.randrange(nodes))
        second = dice.choice([node for node in range(nodes) if node != first])
        if used[first] + size > MEMORY - 8192:
            continue
        used[first] += size
        behind = ""
        if template == "drbd":
            behind = f"node{second}"
            for node in (first, second):
                disk[node] += space
        tag = "service:web" if number < 3 else ""
        machines.append(
            f"inst{number}|{size}|{space}|{cpus}|running|Y|node{first}|{behind}|{template}|{tag}|1|-"
        )
    lines = [
        f"node{n}|{MEMORY}|512|{MEMORY - 512 - used[n]}|{DISK}|{DISK - disk[n]}|16|"
        f"{'Y' if drained and n == 0 else 'N'}|uuid-1|2||N|0|1|1.0"
        for n in range(nodes)
    ]
    spec = "128,1,1024,1,1,1"
    policy = f"{spec}|{spec};32768,8,1048576,16,8,12|drbd,ext,plain|4.0|32.0"
    sections = [
        ["group|uuid-1|preferred||"], lines, machines, ["htools:iextags:service"],
        [f"|{policy}", f"group|{policy}"],
    ]  # fmt: skip
    return "\n".join("\n".join([*section, ""]) for section in sections)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.hbal.generate", description=__doc__)
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--each", type=int, default=15, help="machines per node")
    parser.add_argument("--template", choices=["drbd", "ext"], default="drbd")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(text(asked.seed, nodes=asked.nodes, each=asked.each, template=asked.template))


if __name__ == "__main__":
    main()
