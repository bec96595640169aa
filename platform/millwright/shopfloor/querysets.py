"""What a person may see of programs, devices and mappings."""

from __future__ import annotations

from typing import Any, Self

from millwright.accounts.permissions import projects_with
from millwright.accounts.querysets import ByProjectQuerySet


class ProgramQuerySet(ByProjectQuerySet):
    project_path = "project"


#: Columns of a version that are as long as the program: no list shows them.
LONG = ("files", "diagnostics", "symbols", "error")


class ProgramVersionQuerySet(ByProjectQuerySet):
    project_path = "program__project"

    def short(self) -> Self:
        """For lists: without sources, symbols and messages."""
        return self.defer(*LONG)


class DeploymentQuerySet(ByProjectQuerySet):
    project_path = "machine__environment__project"

    def with_names(self) -> Self:
        """For lists: machine, version and people, of the version only what names it."""
        return self.select_related(
            "machine__environment__project",
            "program_version__program",
            "deployed_by",
            "decided_by",
        ).defer(*(f"program_version__{column}" for column in LONG))

    def to_decide_by(self, user: Any) -> Self:
        """Deployments that wait for somebody like this person; never their own."""
        projects = projects_with(user, "decide")
        rows = self.filter(state="asked").exclude(deployed_by=user)
        return rows if projects is None else rows.filter(machine__environment__project__in=projects)


class SetPointQuerySet(ByProjectQuerySet):
    project_path = "machine__environment__project"


class DeviceQuerySet(ByProjectQuerySet):
    project_path = "project"


class MappingQuerySet(ByProjectQuerySet):
    project_path = "machine__environment__project"


class StationQuerySet(ByProjectQuerySet):
    project_path = "project"


class ModbusSecurityQuerySet(ByProjectQuerySet):
    project_path = "project"
