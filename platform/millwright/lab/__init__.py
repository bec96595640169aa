"""Several real libvirt hosts on one machine: for trying, and for tests. Nothing else knows they are not real hosts."""

from .errors import LabError
from .instance import Claim, claim_instance
from .lab import Lab
from .plan import HostPlan, LabPlan, plan_lab

__all__ = ["Claim", "HostPlan", "Lab", "LabError", "LabPlan", "claim_instance", "plan_lab"]
