"""What a person may see of programs, devices and mappings."""

from __future__ import annotations

from typing import Any

from millwright.accounts.permissions import projects_with
from millwright.accounts.querysets import ByProjectQuerySet


class ProgramQuerySet(ByProjectQuerySet):
    project_path = "project"


class ProgramVersionQuerySet(ByProjectQuerySet):
    project_path = "program__project"


class DeploymentQuerySet(ByProjectQuerySet):
    project_path = "machine__environment__project"

    def to_decide_by(self, user: Any) -> DeploymentQuerySet:
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
