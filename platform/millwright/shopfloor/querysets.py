"""What a person may see of programs, devices and mappings."""

from millwright.accounts.querysets import ByProjectQuerySet


class ProgramQuerySet(ByProjectQuerySet):
    project_path = "project"


class ProgramVersionQuerySet(ByProjectQuerySet):
    project_path = "program__project"


class DeploymentQuerySet(ByProjectQuerySet):
    project_path = "machine__environment__project"


class DeviceQuerySet(ByProjectQuerySet):
    project_path = "project"


class MappingQuerySet(ByProjectQuerySet):
    project_path = "machine__environment__project"


class StationQuerySet(ByProjectQuerySet):
    project_path = "project"
