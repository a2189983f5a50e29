"""The headers and parameters that routes read past Litestar, by name."""

from typing import Any

import msgspec

from api.routes import bulk
from api.routes.requests import ETAG
from polka.edge.bounds import TIMEOUT_SECONDS_MAX
from polka.rules import duration
from polka.rules.headers import KEY_LENGTH_MAX
from polka.rules.transactions import Reference

EVERYWHERE = ("Request-Timeout", "timeout")
"""The parameters of all routes."""

DURATION = {"type": "string", "pattern": duration.PATTERN, "maxLength": duration.TEXT_MAX, "example": "250ms"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "in": "header",
        "description": "The same key with the same request gets the first answer again, for a day.",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": "^[ -~]+$"},
    },
    "Request-Timeout": {"in": "header", "description": "As `timeout`.", "schema": DURATION},
    "If-Match": {
        "in": "header",
        "description": "The version that is meant, as in the payment's ETag.",
        "schema": {"type": "string", "pattern": rf"^({ETAG.pattern}|\*)$"},
    },
    "timeout": {
        "in": "query",
        "description": f"How long you wait, at most {TIMEOUT_SECONDS_MAX:.0f}s.",
        "schema": DURATION,
    },
    "reason": {"in": "query", "description": "Why, for the history.", "schema": msgspec.json.schema(Reference)},
    "mode": {
        "in": "query",
        "description": "All payments or none, or each by itself.",
        "schema": {"type": "string", "enum": list(bulk.MODES), "default": bulk.MODES[0]},
    },
}
