"""Addresses of the pages."""

from django.urls import path

from .views import account, environments, home, live, pool, records, requests, shopfloor

app_name = "portal"
urlpatterns = [
    path("", home.home, name="home"),
    path("catalogue/", requests.catalogue, name="catalogue"),
    path("requests/", requests.RequestList.as_view(), name="requests"),
    path("requests/new/", requests.new, name="request_new"),
    path("requests/preview/", requests.preview_fragment, name="request_preview"),
    path("requests/<uuid:pk>/", requests.detail, name="request"),
    path("requests/<uuid:pk>/decide/", requests.decide, name="request_decide"),
    path("environments/", environments.EnvironmentList.as_view(), name="environments"),
    path("environments/<slug:name>/", environments.detail, name="environment"),
    path("environments/<slug:name>/act/", environments.act, name="environment_act"),
    path("environments/<slug:name>/events/", live.environment_events, name="environment_events"),
    path("environments/<slug:name>/tags/", live.tags, name="environment_tags"),
    path("environments/<slug:name>/performance/", live.performance, name="environment_performance"),
    path("environments/<slug:name>/deploy/", shopfloor.deploy, name="deploy"),
    path("environments/<slug:name>/mappings/", shopfloor.mappings, name="mappings"),
    path("programs/", shopfloor.ProgramList.as_view(), name="programs"),
    path("programs/new/", shopfloor.upload, name="program_upload"),
    path("programs/versions/<uuid:pk>/", shopfloor.version, name="program_version"),
    path("programs/<uuid:pk>/", shopfloor.program, name="program"),
    path("devices/", shopfloor.DeviceList.as_view(), name="devices"),
    path("devices/new/", shopfloor.device_new, name="device_new"),
    path("devices/read/", shopfloor.device_read, name="device_read"),
    path("devices/<uuid:pk>/remove/", shopfloor.device_remove, name="device_remove"),
    path("pool/", pool.pool, name="pool"),
    path("pool/<slug:name>/", pool.host, name="host"),
    path("pool/<slug:name>/administer/", pool.administer, name="host_administer"),
    path("operations/", records.OperationList.as_view(), name="operations"),
    path("operations/<uuid:pk>/", records.operation, name="operation"),
    path("operations/<uuid:pk>/act/", records.operation_act, name="operation_act"),
    path("audit/", records.AuditList.as_view(), name="audit"),
    path("enter/<str:secret>/", account.enter, name="enter"),
]
