"""What objects name exists: selectors hit the one component that they are for; ports, volumes and Secrets are there."""

from collections import Counter
from collections.abc import Iterator

from chart.objects import COMPONENT, Workload, name, of_kind, selects, workloads
from chart.rendering import Object, Rendered, Values


def faults(rendered: Rendered) -> Iterator[str]:
    for named, times in Counter(map(name, rendered.objects)).items():
        if times > 1:
            yield f"{named}: there are {times}"
    for found in rendered.objects:
        yield from (f"{name(found)}: {fault}" for fault in object_faults(found, rendered))
    for workload in workloads(rendered.objects):
        yield from (f"{workload.name}: {fault}" for fault in own_faults(workload))
        yield from (f"{workload.name}: {fault}" for fault in pod_faults(workload, rendered))


def object_faults(found: Object, rendered: Rendered) -> Iterator[str]:
    """What an object beside the pods says of them, and of Services."""
    spec = found.get("spec", {})
    match found["kind"]:
        case "Service":
            yield from selector_faults({"matchLabels": spec["selector"]}, found, rendered)
            for port in spec["ports"]:
                yield from port_faults(port["targetPort"], {"matchLabels": spec["selector"]}, rendered)
        case "PodMonitor":
            yield from selector_faults(spec["selector"], found, rendered)
            for endpoint in spec["podMetricsEndpoints"]:
                yield from port_faults(endpoint["port"], spec["selector"], rendered)
        case "ServiceMonitor":
            yield from service_monitor_faults(spec, rendered)
        case "PodDisruptionBudget":
            yield from selector_faults(spec["selector"], found, rendered)
        case "NetworkPolicy" if COMPONENT in spec["podSelector"].get("matchLabels", {}):
            yield from selector_faults(spec["podSelector"], found, rendered)
        case "HorizontalPodAutoscaler":
            yield from autoscaler_faults(spec, rendered)
        case "Ingress":
            for rule in spec["rules"]:
                for path in rule["http"]["paths"]:
                    service = path["backend"]["service"]
                    yield from backend_faults(service["name"], service["port"]["name"], rendered)
        case "HTTPRoute":
            for rule in spec["rules"]:
                for backend in rule["backendRefs"]:
                    yield from backend_faults(backend["name"], backend["port"], rendered)


def selector_faults(selector: Object, found: Object, rendered: Rendered) -> Iterator[str]:
    """It hits pods of the component that the object is of, and no others."""
    hit = sorted({workload.component for workload in hit_by(selector, rendered)})
    if hit != [found["metadata"]["labels"][COMPONENT]]:
        yield f"its selector hits {', '.join(hit) or 'nothing'}"


def hit_by(selector: Object, rendered: Rendered) -> list[Workload]:
    return [workload for workload in workloads(rendered.objects) if selects(workload.labels, selector)]


def port_faults(port: str | int, selector: Object, rendered: Rendered) -> Iterator[str]:
    """Ports are meant by their names, and each pod that is hit has it."""
    for workload in hit_by(selector, rendered):
        if port not in [open_port["name"] for open_port in ports(workload)]:
            yield f"{workload.name} has no port {port}"


def ports(workload: Workload) -> list[Object]:
    return [port for container in workload.pod["containers"] for port in container.get("ports", [])]


def service_monitor_faults(spec: Object, rendered: Rendered) -> Iterator[str]:
    services = of_kind(rendered.objects, "Service")
    hit = [service for service in services if selects(service["metadata"]["labels"], spec["selector"])]
    for endpoint in spec["endpoints"]:
        having = [found for found in hit if endpoint["port"] in [port["name"] for port in found["spec"]["ports"]]]
        if len(having) != 1:
            yield f"the port {endpoint['port']} that its selector hits is of {', '.join(map(name, having)) or 'none'}"


def autoscaler_faults(spec: Object, rendered: Rendered) -> Iterator[str]:
    target = f"{spec['scaleTargetRef']['kind']}/{spec['scaleTargetRef']['name']}"
    scaled = {workload.name: workload for workload in workloads(rendered.objects)}.get(target)
    if scaled is None:
        yield f"there is no {target}"
        return
    if "replicas" in scaled.object["spec"]:
        yield f"{target} sets its replicas, too"
    for metric in spec["metrics"]:
        wanted = metric["containerResource"]["container"]
        resource = metric["containerResource"]["name"]
        if not any(
            container["name"] == wanted and resource in container["resources"].get("requests", {})
            for container in scaled.pod["containers"]
        ):
            yield f"{target} has no container {wanted} that asks for {resource}"


def backend_faults(service: str, port: str | int, rendered: Rendered) -> Iterator[str]:
    for found in of_kind(rendered.objects, "Service"):
        if found["metadata"]["name"] == service:
            if not any(port in (open_port["name"], open_port["port"]) for open_port in found["spec"]["ports"]):
                yield f"Service/{service} has no port {port}"
            return
    yield f"there is no Service/{service}"


def own_faults(workload: Workload) -> Iterator[str]:
    """What a workload says of its own pods."""
    spec = workload.object["spec"]
    if "selector" in spec and not selects(workload.labels, spec["selector"]):
        yield "its selector does not hit its own pods"
    for spread in workload.pod.get("topologySpreadConstraints", []):
        if not selects(workload.labels, spread["labelSelector"]):
            yield "it spreads other pods than its own"


def pod_faults(workload: Workload, rendered: Rendered) -> Iterator[str]:
    if "selector" in workload.object["spec"]:
        hit = [found.name for found in hit_by(workload.object["spec"]["selector"], rendered)]
        if hit not in ([workload.name], []):
            yield f"its selector hits {', '.join(hit)}"
    if workload.object["kind"] == "StatefulSet":
        service = workload.object["spec"]["serviceName"]
        if f"Service/{service}" not in map(name, rendered.objects):
            yield f"there is no Service/{service}"
    account = workload.pod["serviceAccountName"]
    if not exists("ServiceAccount", account, rendered) and account != "default":
        yield f"there is no ServiceAccount/{account}"
    yield from volume_faults(workload, rendered)
    for container in workload.containers():
        yield from environment_faults(container, rendered)
        open_ports = [port["name"] for port in container.get("ports", [])]
        for field in ("startupProbe", "livenessProbe", "readinessProbe"):
            port = container.get(field, {}).get("httpGet", {}).get("port")
            if port is not None and port not in open_ports:
                yield f"its {field} asks the port {port}, which it has not"


def volume_faults(workload: Workload, rendered: Rendered) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in workload.pod.get("volumes", [])}
    claims = {claim["metadata"]["name"] for claim in workload.object["spec"].get("volumeClaimTemplates", [])}
    mounts = [mount for container in workload.containers() for mount in container.get("volumeMounts", [])]
    for mount in mounts:
        if mount["name"] not in volumes.keys() | claims:
            yield f"there is no volume {mount['name']}"
    for unused in sorted((volumes.keys() | claims) - {mount["name"] for mount in mounts}):
        yield f"nobody mounts the volume {unused}"
    for volume in volumes.values():
        if "secret" in volume and not exists("Secret", volume["secret"]["secretName"], rendered):
            yield f"there is no Secret/{volume['secret']['secretName']}"
        if "configMap" in volume and not exists("ConfigMap", volume["configMap"]["name"], rendered):
            yield f"there is no ConfigMap/{volume['configMap']['name']}"


def environment_faults(container: Object, rendered: Rendered) -> Iterator[str]:
    entries = container.get("env", [])
    for variable, times in Counter(entry["name"] for entry in entries).items():
        if times > 1:
            yield f"{variable} is set {times} times"
    for entry in entries:
        for kind, field in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
            if reference := entry.get("valueFrom", {}).get(field):
                if not exists(kind, reference["name"], rendered):
                    yield f"there is no {kind}/{reference['name']}"
                elif not has_key(kind, reference["name"], reference["key"], rendered):
                    yield f"{kind}/{reference['name']} has no key {reference['key']}"


def exists(kind: str, wanted: str, rendered: Rendered) -> bool:
    """Whether the release makes it or has it made, or its user said that it is there."""
    if kind == "Secret" and wanted in issued(rendered):
        return True
    return f"{kind}/{wanted}" in map(name, rendered.objects) or wanted in by_users(rendered.values)


def issued(rendered: Rendered) -> set[str]:
    """The Secrets that cert-manager makes for the release."""
    return {found["spec"]["secretName"] for found in of_kind(rendered.objects, "Certificate")}


def by_users(values: Values) -> set[str]:
    """The objects that are not the release's own: values name them."""
    groups = ("secrets", "postgres", "externalDatabase")
    named = [values[group]["existingSecret"] for group in groups]
    named += [values["externalDatabase"]["caSecret"], values["api"]["tlsSecret"]]
    named += [values["cache"]["tlsSecret"], values["cache"]["clientTlsSecret"]]
    return {*named, values["serviceAccount"]["name"]}


def has_key(kind: str, wanted: str, key: str, rendered: Rendered) -> bool:
    found = [found for found in of_kind(rendered.objects, kind) if found["metadata"]["name"] == wanted]
    return not found or key in found[0]["data"]
