"""The portal's entry point for uvicorn: `uvicorn millwright.settings.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millwright.settings.django")
# Here each request has a thread of its own: a connection kept per thread would never be used again, and a hundred
# requests a minute would use up what the server allows.
os.environ.setdefault("MILLWRIGHT_DATABASE_POOL", "12")
application = get_asgi_application()
