"""The portal's entry point for uvicorn: `uvicorn millwright.settings.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millwright.settings.django")
application = get_asgi_application()
