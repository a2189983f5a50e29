"""The `/metrics` page."""

from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST, disable_created_metrics, generate_latest

# When each series began is twice as many series, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


@get("/metrics", include_in_schema=False, sync_to_thread=False)
def metrics() -> Response[bytes]:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
