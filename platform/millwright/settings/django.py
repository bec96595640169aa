"""Django's settings, derived from Millwright's typed settings. Nothing here reads the environment."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from millwright import __version__

from . import connections, get_settings

_settings = get_settings()
_public = urlsplit(_settings.public_url)
_https = _public.scheme == "https"
_issuer = urlsplit(_settings.oidc_issuer)
_provider = [f"{_issuer.scheme}://{_issuer.netloc}"] if _settings.oidc_issuer else []

_settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
SECRET_KEY = _settings.secret("django.key")
DEBUG = _settings.debug
ALLOWED_HOSTS = [_public.hostname or "127.0.0.1", _settings.portal_host, "127.0.0.1", "localhost"]
CSRF_TRUSTED_ORIGINS = [_settings.public_url]
MILLWRIGHT_VERSION = __version__

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    # Before allauth: its pages wear our frame.
    "millwright.portal",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "axes",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "millwright.accounts",
    "millwright.audit",
    "millwright.inventory",
    "millwright.catalog",
    "millwright.environments",
    "millwright.shopfloor",
    "millwright.service_levels",
    "millwright.balancing",
    "millwright.notifications",
    "millwright.api",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "millwright.portal.middleware.CharacterZeroMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "millwright.accounts.language.OwnLanguageMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "millwright.audit.middleware.OriginMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "millwright.accounts.middleware.FirstThingsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "millwright.settings.urls"
ASGI_APPLICATION = "millwright.settings.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "millwright.portal.context.plant",
            ]
        },
    }
]


def _database() -> dict[str, object]:
    url = urlsplit(_settings.effective_database_url)
    if _settings.is_sqlite:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": url.path,
            "OPTIONS": {
                # Writers queue at BEGIN in place of failing at their first write.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
            },
            # A file, so that threads of a test meet the locks of the real thing.
            "TEST": {"NAME": str(_settings.home / "test.sqlite3")},
        }
    # libpq's own parameters, as in ?sslmode=verify-full or ?host=/run/postgresql.
    options: dict[str, object] = dict(parse_qsl(url.query))
    host, port = options.pop("host", ""), options.pop("port", "")
    if connections.answers_requests:
        # Joins in the order that we write them, from what is asked for to what it names: to weigh all orders of
        # eight tables takes the server ten times longer than to read twenty rows. Nothing runs long enough to be compiled.
        tuned = "-c join_collapse_limit=1 -c jit=off"
        options["options"] = f"{options.get('options', '')} {tuned}".strip()
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.lstrip("/"),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": host or unquote(url.hostname or ""),
        "PORT": port or str(url.port or ""),
        "OPTIONS": options,
        "CONN_MAX_AGE": 60,
        # The portal's threads look at the socket in place of asking the server: settings.connections.
        "CONN_HEALTH_CHECKS": not connections.answers_requests,
    }


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
    "millwright.accounts.directory.DirectoryBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "portal:home"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_ADAPTER = "millwright.accounts.adapter.ClosedAdapter"
SOCIALACCOUNT_ADAPTER = "millwright.accounts.adapter.PlantIdentityAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
# A token of the provider is never needed after the sign-in.
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "plant",
                "name": _settings.oidc_name,
                "client_id": _settings.oidc_client_id,
                "secret": _settings.secret("oidc.secret"),
                "settings": {"server_url": _settings.oidc_issuer},
            }
        ]
        if _settings.oidc_issuer
        else [],
    }
}
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = False
# Addresses are the provider's or an administrator's; whoever has none that was verified sets a second factor up, too.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_VERBOSE = False
AXES_USERNAME_FORM_FIELD = "login"

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = _https
# Two instances on one machine share a host name, and browsers share cookies between ports.
SESSION_COOKIE_NAME = f"{_settings.instance}_session"
CSRF_COOKIE_NAME = f"{_settings.instance}_csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = _https
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # Tabler's stylesheet embeds its small pictures.
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        # Signing in at the provider begins with a form of ours that leads there.
        "form-action": [SELF, *_provider],
        "frame-ancestors": [NONE],
    }
}

LANGUAGE_CODE = _settings.language
LANGUAGES = [
    ("en", _("English")),
    ("zh-hans", _("Chinese (simplified)")),
    ("de", _("German")),
]
LOCALE_PATHS = [Path(__file__).parents[1] / "locale"]
USE_I18N = True
FORMAT_MODULE_PATH = ["millwright.settings.formats"]
USE_TZ = True
TIME_ZONE = _settings.time_zone

STATIC_URL = "static/"
STATIC_ROOT = _settings.home / "static"
# Files are served from the package itself: nothing to collect, nothing to forget.
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 300

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "millwright.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "millwright.api.pagination.Pages",
    "PAGE_SIZE": 50,
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "millwright.api.problems.handle",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["millwright.api.throttles.Reads"],
    "DEFAULT_THROTTLE_RATES": {"user": "6000/min"},
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Millwright",
    "DESCRIPTION": "Environments of a plant: requests, machines, programs, devices.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "millwright.api.schema.add_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        "PointAreaEnum": "millwright.shopfloor.models.TagMapping.AREAS",
        "NoticeKindEnum": "millwright.api.views.notifications.KIND_CHOICES",
        "RoleEnum": "millwright.accounts.choices.Role",
        "RuleKindEnum": "millwright.balancing.models.PlacementRule.KINDS",
        "BalanceModeEnum": "millwright.balancing.models.Balancer.MODES",
        "WriteAreaEnum": [("holding", "holding"), ("coil", "coil")],
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
