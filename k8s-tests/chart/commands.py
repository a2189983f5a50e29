"""What containers run: the command line takes their arguments; their variables are read, and their paths answered."""

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

import click
import msgspec

import api.settings
import cache.settings
from chart.objects import Workload, name, of_kind, workloads
from chart.rendering import Object, Rendered
from chart.restricted import is_polkas
from polka.command.main import main
from polka.edge import monitoring, server, tls
from polka.edge.bounds import Bounds
from polka.rules import duration
from polka.service import logs, settings, traces
from polka.service.failure import Failure

SHARED = (Bounds, server.Settings, tls.Settings, logs.Settings, traces.Settings)
SERVICES: dict[str, tuple[type[msgspec.Struct], ...]] = {
    "api": (api.settings.Settings, tls.CacheSettings, *SHARED),
    "cache": (cache.settings.Settings, *SHARED),
}
"""By command the settings that it reads."""
READ_BY_HTTPX = {"SSL_CERT_FILE"}
LOCUST_PATHS = {"/"}
SPAMMER_PATHS = {"/metrics"}
"""Of each of its components, at its port of metrics."""
PORTS = {"http": 80, "https": 443}
LOCUST_PORT = 5557
"""Where a master listens for its workers."""


def faults(rendered: Rendered) -> Iterator[str]:
    for workload in workloads(rendered.objects):
        for container in workload.containers():
            if is_polkas(container, rendered):
                found = container_faults(container, rendered)
                yield from (f"{workload.name}, {container['name']}: {fault}" for fault in found)
    for monitor in of_kind(rendered.objects, "ServiceMonitor", "PodMonitor"):
        component = monitor["metadata"]["labels"]["app.kubernetes.io/component"]
        spec = monitor["spec"]
        for endpoint in spec.get("endpoints", spec.get("podMetricsEndpoints")):
            if endpoint["path"] not in paths(component):
                yield f"{name(monitor)}: polka {component} does not answer {endpoint['path']}"


def container_faults(container: Object, rendered: Rendered) -> Iterator[str]:
    if container.get("command", [])[:2] == ["python", "-c"]:
        yield from program_faults(container)
        return
    if "command" in container:
        yield f"its command is {' '.join(container['command'])}: signals would not reach polka"
        return
    try:
        context = parsed(container["args"], environment(container, rendered))
    except click.UsageError as error:
        yield f"polka {' '.join(container['args'])}: {error.format_message()}"
        return
    yield from variable_faults(context, container, rendered)
    yield from port_faults(context, container, rendered)
    yield from start_faults(context)
    service = context.command_path.split()[1]
    for field in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(field, {}).get("httpGet")
        if probe and probe["path"] not in paths(service):
            yield f"its {field} asks for {probe['path']}, which polka {service} does not answer"
        elif probe and service in SERVICES and probe["port"] != "metrics":
            yield f"its {field} asks the port {probe['port']}, where polka {service} does not tell how it is"


def program_faults(container: Object) -> Iterator[str]:
    """A small program of the chart's own: it can be compiled, and reads what it is given."""
    [program] = container["args"]
    compile(program, container["name"], "exec")
    given = {entry["name"] for entry in container.get("env", [])}
    read = set(re.findall(r"POLKA_\w+", program))
    read |= given & READ_BY_HTTPX if "httpx" in program else set()
    for variable in sorted(given ^ read):
        yield f"{variable} is {'given, and not read' if variable in given else 'read, and not given'}"


def parsed(words: Sequence[str], variables: dict[str, str]) -> click.Context:
    """What the command line makes of these words, without running it.

    Raises:
        click.UsageError: it does not take them.
    """
    context = click.Context(main, info_name="polka")
    command: click.Command = main
    rest = list(words)
    with patch.dict(os.environ, variables, clear=True):
        while isinstance(command, click.Group):
            if not rest:
                raise click.UsageError(f"{context.command_path}: a subcommand is missing.")
            called, found, rest = command.resolve_command(context, rest)
            assert called is not None
            assert found is not None
            command = found
            context = click.Context(command, info_name=called, parent=context)
        return command.make_context(str(context.info_name), rest, parent=context.parent)


def environment(container: Object, rendered: Rendered) -> dict[str, str]:
    """Its variables; what comes from a Secret is as the Secret's owner was told."""
    secrets = {
        rendered.values["secrets"]["operatorKeyKey"]: "polka_" + "0" * 40,
        rendered.values["secrets"]["spammerKeyKey"]: "polka_" + "1" * 40,
        rendered.values["secrets"]["cacheTokenKey"]: "0" * 16,
    }
    return {
        entry["name"]: entry["value"]
        if "value" in entry
        else secrets.get(entry["valueFrom"]["secretKeyRef"]["key"], "a password")
        for entry in container.get("env", [])
    }


def variable_faults(context: click.Context, container: Object, rendered: Rendered) -> Iterator[str]:
    given = environment(container, rendered)
    for variable in sorted(found for found in given.keys() - read_by(context) if found.startswith("POLKA_")):
        yield f"{context.command_path} does not read {variable}"
    command = context.command_path.split()[1]
    if command in SERVICES:
        for kind in SERVICES[command]:
            try:
                settings.read(kind, given)
            except Failure as failure:
                yield str(failure)


def read_by(context: click.Context) -> set[str]:
    """The variables that the command reads: those of its options, and a service's settings."""
    read = set(re.findall(r"POLKA_\w+", re.sub(r"\s+", " ", context.get_help())))
    read |= {str(option.envvar) for option in context.command.params if option.envvar}
    command = context.command_path.split()[1]
    if command == "audit":
        read |= {settings.variable(field.name) for field in msgspec.structs.fields(tls.CacheSettings)}
    if command in SERVICES:
        read |= {settings.variable(field.name) for kind in SERVICES[command] for field in msgspec.structs.fields(kind)}
    return read


def port_faults(context: click.Context, container: Object, rendered: Rendered) -> Iterator[str]:
    """The ports that a container says it has are those that its program listens on."""
    options: dict[str, Any] = context.params
    listens = []
    if "port" in options:
        beside = environment(container, rendered).get(settings.variable("metrics_port"), options["port"] + 1)
        listens += [options["port"], int(beside)]
    listens += [options["web_port"]] if options.get("web") else []
    listens += [LOCUST_PORT] if options.get("master") else []
    listens += [options["metrics_port"]] if options.get("metrics_port") else []
    said = [port["containerPort"] for port in container.get("ports", [])]
    if sorted(listens) != sorted(said):
        yield f"it listens on {listens}, and says {said}"
    hosts = [options["host"]] if "port" in options else []
    hosts += [options["web_host"]] if options.get("web") else []
    hosts += [options["metrics_host"]] if options.get("metrics_port") else []
    for host in hosts:
        if host != "0.0.0.0":
            yield f"it listens on {host} alone"


def start_faults(context: click.Context) -> Iterator[str]:
    """A spammer may start before the migration's Job has recorded its key. Workers leave this to their master."""
    options: dict[str, Any] = context.params
    if "wait" in options and not options["worker_of"] and not duration.read(options["wait"]):
        yield "it does not wait for its key"


def paths(command: str) -> set[str]:
    """What a service's port of metrics and health, or a component of the spammer's, answers to a GET."""
    if command not in SERVICES:
        return LOCUST_PATHS if command == "spam" else SPAMMER_PATHS
    handlers = (monitoring.metrics, monitoring.live, monitoring.ready)
    return {path for handler in handlers for path in handler.paths}


def addresses(workload: Workload, rendered: Rendered) -> Iterator[tuple[str, int]]:
    """Host and port of everybody whom it is told to speak to."""
    for container in workload.containers():
        if not is_polkas(container, rendered):
            continue
        given = environment(container, rendered)
        urls = [
            given[name]
            for name in (
                "POLKA_DATABASE_URL",
                "POLKA_CACHE_URL",
                "POLKA_URL",
                "POLKA_RATES_URL",
                "OTEL_EXPORTER_OTLP_ENDPOINT",
            )
            if given.get(name)
        ]
        if "command" not in container:
            options = options_of(container, given)
            if worker_of := options.get("worker_of"):
                yield worker_of, LOCUST_PORT
            elif "url" in options:
                urls.append(options["url"])
        for url in urls:
            scheme, _, rest = url.partition("://")
            host, _, port = rest.partition("/")[0].rpartition("@")[2].partition(":")
            yield host, int(port or PORTS[scheme])


def options_of(container: Object, given: dict[str, str]) -> dict[str, Any]:
    try:
        return parsed(container["args"], given).params
    except click.UsageError:  # a fault of its own
        return {}
