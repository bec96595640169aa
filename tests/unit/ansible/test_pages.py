"""How modules and the inventory read lists, in the Python that Debian's Ansible lives in."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import collection

#: A portal in two pages that calls itself by its public name, where nobody reaches it.
READ = """
import io, json
from ansible_collections.millwright.plant.plugins.module_utils import api
asked = []
def open_url(url, **options):
    asked.append(url)
    last = "cursor=2" in url
    page = {"results": [{"name": f"desk-{len(asked)}"}],
            "next": None if last else "https://portal.plant/api/v1/stations/?page_size=1&cursor=2"}
    return io.BytesIO(json.dumps(page).encode())
api.open_url = open_url
rows = api.Api("https://10.0.0.5", "secret", None, 5).rows("stations/", page_size="1")
print(json.dumps([rows, asked]))
"""


def test_further_pages_are_asked_where_the_portal_was_reached(tmp_path: Path) -> None:
    done = collection.run(collection.link(tmp_path), collection.PYTHON, "-c", READ)
    assert done.returncode == 0, done.stderr
    rows, asked = json.loads(done.stdout)
    assert [row["name"] for row in rows] == ["desk-1", "desk-2"]
    first = "https://10.0.0.5/api/v1/stations/?page_size=1"
    assert asked == [first, f"{first}&cursor=2"]
