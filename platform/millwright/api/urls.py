"""Routes of the API."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from .events import EventsView
from .schema_view import SchemaView
from .views import (
    balancing,
    disks,
    environments,
    ledger,
    metrics,
    notifications,
    people,
    plant,
    pools,
    programs,
    recovering,
    requests,
    rolling,
    rules,
    service_levels,
    setpoints,
    shopfloor,
)

router = SimpleRouter()
router.register("requests", requests.RequestViewSet, "request")
router.register("environments", environments.EnvironmentViewSet, "environment")
router.register("views", environments.SavedViewViewSet, "view")
router.register("machines", environments.MachineViewSet, "machine")
router.register("operations", environments.OperationViewSet, "operation")
router.register("programs", programs.ProgramViewSet, "program")
router.register("program-versions", programs.ProgramVersionViewSet, "program-version")
router.register("deployments", programs.DeploymentViewSet, "deployment")
router.register("devices", shopfloor.DeviceViewSet, "device")
router.register("mappings", shopfloor.MappingViewSet, "mapping")
router.register("stations", shopfloor.StationViewSet, "station")
router.register("modbus-security", shopfloor.ModbusSecurityViewSet, "modbus-security")
router.register("set-points", setpoints.SetPointViewSet, "set-point")
router.register("service-levels", service_levels.ServiceLevelViewSet, "service-level")
router.register("intervals", ledger.IntervalViewSet, "interval")
router.register("maintenance-windows", ledger.WindowViewSet, "maintenance-window")
router.register("contracts", ledger.ContractViewSet, "contract")
router.register("seals", service_levels.SealViewSet, "seal")
router.register("hosts", plant.HostViewSet, "host")
router.register("recoveries", recovering.RecoveryViewSet, "recovery")
router.register("recommendations", balancing.RecommendationViewSet, "recommendation")
router.register("rolling-drains", rolling.RollingDrainViewSet, "rolling-drain")
router.register("pools", pools.ResourcePoolViewSet, "pool")
router.register("rules", rules.RuleViewSet, "rule")
router.register("cells", plant.CellViewSet, "cell")
router.register("drifts", plant.DriftViewSet, "drift")
router.register("old-disks", disks.OldDiskViewSet, "old-disk")
router.register("templates", plant.TemplateViewSet, "template")
router.register("projects", plant.ProjectViewSet, "project")
router.register("audit", plant.AuditViewSet, "audit")
router.register("people", people.PersonViewSet, "person")
router.register("members", people.MemberViewSet, "member")
router.register("delegations", people.DelegationViewSet, "delegation")
router.register("notifications", notifications.NotificationViewSet, "notification")
router.register("webhooks", notifications.WebhookViewSet, "webhook")
router.register("deliveries", notifications.DeliveryViewSet, "delivery")

app_name = "api"
urlpatterns = [
    path("v1/status/", plant.StatusView.as_view(), name="status"),
    path("v1/events", EventsView.as_view(), name="events"),
    path("v1/prometheus/targets", plant.TargetsView.as_view(), name="targets"),
    path("v1/prometheus/metrics", metrics.MetricsView.as_view(), name="metrics"),
    path("v1/schema/", SchemaView.as_view(), name="schema"),
    path("v1/", include(router.urls)),
]
