"""The Pod Security Standard *restricted* in full, and what Polka asks of its pods beyond it.

Follows https://kubernetes.io/docs/concepts/security/pod-security-standards/, baseline and restricted, for Linux.
"""

from collections.abc import Iterator

from chart.objects import Workload, workloads
from chart.rendering import Object, Rendered

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SELINUX_TYPES = {"container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
SECCOMP_TYPES = {"RuntimeDefault", "Localhost"}
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")


def faults(rendered: Rendered) -> Iterator[str]:
    for workload in workloads(rendered.objects):
        yield from (f"{workload.name}: {fault}" for fault in pod_faults(workload.pod))
        yield from (f"{workload.name}: {fault}" for fault in conventions(workload))
        for container in [*workload.containers(), *workload.pod.get("ephemeralContainers", [])]:
            found = [*container_faults(container, workload.pod), *container_conventions(container, rendered)]
            yield from (f"{workload.name}, {container['name']}: {fault}" for fault in found)


def pod_faults(pod: Object) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is true"
    for volume in pod.get("volumes", []):
        if kinds := volume.keys() - {"name"} - VOLUMES:
            yield f"the volume {volume['name']} is a {', '.join(kinds)}"
    security = pod.get("securityContext", {})
    for sysctl in security.get("sysctls", []):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"it sets {sysctl['name']}"
    if any(group == 0 for group in security.get("supplementalGroups", [])):
        yield "it is in root's group"
    yield from context_faults(security)


def container_faults(container: Object, pod: Object) -> Iterator[str]:
    own = container.get("securityContext", {})
    security = {**pod.get("securityContext", {}), **own}
    if security.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if security.get("seccompProfile", {}).get("type") not in SECCOMP_TYPES:
        yield "it has no seccomp profile"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("privileged"):
        yield "it is privileged"
    if own.get("procMount", "Default") != "Default":
        yield f"procMount is {own['procMount']}"
    if "ALL" not in own.get("capabilities", {}).get("drop", []):
        yield "it does not drop all capabilities"
    if added := set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"it adds {', '.join(sorted(added))}"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"it takes the node's port {port['hostPort']}"
    yield from host_faults(container)
    yield from context_faults(own)


def host_faults(container: Object) -> Iterator[str]:
    """Probes and hooks that reach for another host."""
    handlers = {field: container[field] for field in HANDLERS if field in container} | container.get("lifecycle", {})
    for field, handler in handlers.items():
        for how in ("httpGet", "tcpSocket"):
            if handler.get(how, {}).get("host"):
                yield f"its {field} goes to {handler[how]['host']}"


def context_faults(security: Object) -> Iterator[str]:
    """What a pod's security context must not say, and a container's neither."""
    if security.get("runAsUser") == 0:
        yield "it runs as root"
    if security.get("windowsOptions", {}).get("hostProcess"):
        yield "it is a process of the host"
    if security.get("seccompProfile", {}).get("type", "RuntimeDefault") not in SECCOMP_TYPES:
        yield "its seccomp profile is Unconfined"
    if security.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield "its AppArmor profile is Unconfined"
    selinux = security.get("seLinuxOptions", {})
    if selinux.get("type", "container_t") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "it chooses its SELinux label"


def conventions(workload: Workload) -> Iterator[str]:
    pod = workload.pod
    for field in ("automountServiceAccountToken", "enableServiceLinks"):
        if pod.get(field) is not False:
            yield f"{field} is not false"
    grace = pod.get("terminationGracePeriodSeconds", 30)
    needed = max(stopping_seconds(container) for container in pod["containers"])
    if grace <= needed:
        yield f"it is killed after {grace} s, and needs {needed:g} s to stop"


def stopping_seconds(container: Object) -> float:
    """How long the container may go on after its end was decided."""
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = [entry["value"] for entry in container.get("env", []) if entry["name"] == "POLKA_DRAIN_SECONDS"]
    return float(sleep) + sum(map(float, drain))


def container_conventions(container: Object, rendered: Rendered) -> Iterator[str]:
    """While developing, files are synced into Polka's own containers; no other root is ever written."""
    writable = rendered.values["dev"]["reload"] and is_polkas(container, rendered)
    if container["securityContext"].get("readOnlyRootFilesystem") is not (not writable):
        yield f"readOnlyRootFilesystem is not {str(not writable).lower()}"
    resources = container.get("resources", {})
    for group, resource in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        if resource not in resources.get(group, {}):
            yield f"it has no {group}.{resource}"
    if container.get("imagePullPolicy") not in ("IfNotPresent", "Never"):
        yield f"its image is pulled {container.get('imagePullPolicy', 'by its tag')}"


def is_polkas(container: Object, rendered: Rendered) -> bool:
    """Whether this is Polka's own image."""
    repository: str = rendered.values["image"]["repository"]
    return str(container["image"]).startswith((f"{repository}:", f"{repository}@"))
