"""The server of api and cache: sockets, connections and their bounds, TLS, and the port of metrics and health."""
