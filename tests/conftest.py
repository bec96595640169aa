"""What all tests share. The home of the tests is set by tests/support/isolate.py, before this."""

from tests.support.chromium import browser, chromium
from tests.support.lab import real_lab, session_lab
from tests.support.template_database import django_db_keepdb

# Here, so that contract and integration tests share one lab.
__all__ = ["browser", "chromium", "django_db_keepdb", "real_lab", "session_lab"]
