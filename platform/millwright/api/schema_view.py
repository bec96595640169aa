"""The OpenAPI document as it is served: made once in each process, for it depends on the code and the language alone."""

from __future__ import annotations

from threading import Lock
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.utils.translation import get_language
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

#: By language and format what was sent first, and how it is called. At most two for each language that is spoken.
_kept: dict[tuple[str, str], tuple[bytes, str]] = {}
#: Who asks while it is made waits for that.
_making = Lock()


class SchemaView(SpectacularAPIView):
    """Who may read it, how often, and what is negotiated, is asked each time; all read the same."""

    def _get_schema_response(self, request: Request) -> Any:
        language, renderer = get_language() or "", request.accepted_renderer
        known = language in dict(settings.LANGUAGES)
        # A version that a reader names is written into it, and a document for some readers alone is theirs.
        if not known or not self.serve_public or self._get_version_parameter(request):
            return super()._get_schema_response(request)
        key = language, str(renderer.format)
        with _making:
            if key not in _kept:
                made = super()._get_schema_response(request)
                content = renderer.render(made.data, renderer.media_type, {"response": made})
                _kept[key] = content, made["Content-Disposition"]
        content, disposition = _kept[key]
        kind = renderer.media_type
        answer = HttpResponse(
            content,
            content_type=f"{kind}; charset={renderer.charset}" if renderer.charset else kind,
        )
        answer["Content-Disposition"] = disposition
        return answer
