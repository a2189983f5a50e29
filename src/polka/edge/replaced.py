"""The private parts of uvicorn that a connection replaces. Their shape is verified at import."""

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

OURS = {
    "data_received": "_unset_keepalive_if_required parser feed_data httptools HttpParserError logger warning "
    "send_400_response HttpParserUpgrade _should_upgrade handle_websocket_upgrade _unsupported_upgrade_warning",
    "on_message_complete": "parser should_upgrade _should_upgrade cycle response_complete more_body message_event set",
    "on_response_complete": "server_state total_requests transport is_closing _unset_keepalive_if_required flow "
    "resume_reading pipeline pop _start_asgi_task timeout_keep_alive_task loop call_later timeout_keep_alive "
    "timeout_keep_alive_handler",
}
"""The replaced methods of uvicorn, and all names in their code."""


def check_uvicorn(protocol: type[HttpToolsProtocol] = HttpToolsProtocol) -> None:
    """Check that the replaced methods of uvicorn are still the known ones.

    Raises:
        ImportError: this version of uvicorn has different internals.
    """
    for name, names in OURS.items():
        if set(getattr(protocol, name).__code__.co_names) != set(names.split()):
            raise ImportError(f"uvicorn {uvicorn.__version__}: {protocol.__name__}.{name} is not the one known here")


check_uvicorn()


class Flow(FlowControl):
    """Stops reading while the connection has enough work. The app's wish to read changes nothing."""

    is_full = False

    def resume_reading(self) -> None:
        if not self.is_full:
            super().resume_reading()
