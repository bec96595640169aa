"""The portal's addresses."""

from django.urls import include, path
from django.views.generic import RedirectView

from millwright.portal.views.account import set_language

#: Below /api/ these answer as the API does, elsewhere with a page.
handler404 = "millwright.api.problems.not_found"
handler500 = "millwright.api.problems.server_error"

urlpatterns = [
    path("accounts/signup/", RedirectView.as_view(pattern_name="account_login")),
    path("accounts/", include("allauth.urls")),
    path("i18n/setlang/", set_language, name="set_language"),
    path("api/", include("millwright.api.urls")),
    path("", include("millwright.portal.urls")),
]
