"""Locust's page. Pages of other sites must not use it, because some routes start or stop a run without a question."""

import flask

from polka.rules.same_site import is_from_elsewhere, is_local, is_loopback


def protect(app: flask.Flask, web_host: str) -> None:
    """Keep other sites' pages from the routes of the page."""

    @app.before_request
    def check() -> None:
        asked = flask.request
        if is_loopback(web_host) and not is_local(asked.host):
            flask.abort(403, "This is answered at localhost or an IP address, not at other names.")
        is_the_page = asked.method == "GET" and asked.path == "/"  # other sites may link here
        headers = {name.lower(): value for name, value in asked.headers}
        if not is_the_page and is_from_elsewhere(headers, asked.host):
            flask.abort(403, "This is answered to Locust's own page, not to those of other sites.")
