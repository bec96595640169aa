"""What the OpenAPI document says of our own parts: how one signs in, and how refusals look."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "millwright.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `errors` names field and rule of each thing that is wrong.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "message": {"type": "string"},
                    "code": {"type": "string"},
                },
                "required": ["field", "message", "code"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}
_EVERYWHERE = {
    "400": "A parameter or a field breaks a rule",
    "401": "No token, or one that is unknown, ended or revoked",
    "403": "Not allowed",
    "404": "It does not exist, or not for you",
    "406": "Only JSON is spoken",
    "429": "Too many requests; Retry-After says when to come again",
}
_OF_CHANGES = {
    "409": "Its state does not allow it",
    "412": "It changed since you read it (If-Match)",
    "415": "Only JSON is read",
    "422": "The Idempotency-Key was used with another request",
}
_HEADERS = {
    "post": [
        ("Idempotency-Key", "A replay with the same key returns the first answer."),
        ("If-Match", "Only if the thing is still the one with this ETag."),
    ],
    "delete": [("If-Match", "Only if the thing is still the one with this ETag.")],
    "get": [("If-None-Match", "Nothing is sent (304) if the ETag is still the same.")],
}


def add_problems(result: dict[str, Any], **_options: Any) -> dict[str, Any]:
    """Write the refusals and the conditional headers into every operation."""
    result["components"]["schemas"]["Problem"] = _PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for url, path in result["paths"].items():
        for method, operation in path.items():
            codes = dict(_EVERYWHERE)
            if url.endswith("}/"):
                # `rules/check/` is a question, and no rule of that name.
                codes["405"] = "The name is that of a question here, which is asked another way"
            if method != "get":
                codes |= _OF_CHANGES
            for code, text in codes.items():
                operation["responses"].setdefault(code, {"description": text, "content": content})
            if method == "get" and "application/json" in operation["responses"].get("200", {}).get(
                "content", {}
            ):
                operation["responses"]["304"] = {"description": "Unchanged"}
            operation.setdefault("parameters", []).extend(
                {
                    "name": name,
                    "in": "header",
                    "required": False,
                    "description": text,
                    "schema": {"type": "string"},
                }
                for name, text in _HEADERS.get(method, ())
            )
    return result
