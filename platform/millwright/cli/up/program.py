"""Step: the example's control program, uploaded and compiled."""

from __future__ import annotations

from millwright.cli.nouns.shopfloor import read_project, upload, wait_built

from .steps import Done, Plan

NAME = "filling-line"


def upload_example(plan: Plan) -> Done:
    """Have the newest sources compiled. The same sources again are the same version."""
    from . import example_folder

    api = plan.api("erin")
    before = {row["id"] for row in api.rows("program-versions/", program__name=NAME)}
    version = upload(api, plan.project, NAME, read_project(example_folder(plan.root)))
    version = wait_built(api, version["id"])
    plan.facts["program_version"] = version["id"]
    words = f"{NAME} v{version['number']}, {version['bundle_size']} bytes, signed"
    return Done.of(
        [] if version["id"] in before else [f"compiled {words}"],
        detail="" if version["id"] not in before else words,
    )
