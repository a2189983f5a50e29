"""Beside a Prometheus: lists pods and endpoints for it, with the labels that its own discovery of Kubernetes gives.

Debian builds Prometheus without that. This program runs in the cluster, on Python alone, and answers Prometheus'
`http_sd_configs` under the names of its roles: https://prometheus.io/docs/prometheus/latest/configuration/configuration/
"""

import json
import os
import ssl
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

PORT = 9099
META = "__meta_kubernetes_"
SECRETS = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def plain(label: str) -> str:
    """As Prometheus writes the label's name."""
    return "".join(letter if letter.isalnum() else "_" for letter in label)


def labels(kind: str, thing: dict[str, Any]) -> dict[str, str]:
    found = {f"{META}{kind}_label_{plain(name)}": text for name, text in thing["metadata"].get("labels", {}).items()}
    return {
        **found,
        f"{META}{kind}_name": thing["metadata"]["name"],
        f"{META}namespace": thing["metadata"]["namespace"],
    }


def ports(pod: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each of its containers' ports, with the container's name."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", []):
            yield container["name"], port


def pod_targets(pods: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for pod in pods:
        address = pod["status"].get("podIP")
        for container, port in ports(pod) if address else ():
            own = {f"{META}pod_container_name": container, f"{META}pod_container_port_name": port.get("name", "")}
            yield {"targets": [f"{address}:{port['containerPort']}"], "labels": labels("pod", pod) | own}


def endpoint_targets(
    slices: list[dict[str, Any]], services: list[dict[str, Any]], pods: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    named = {service["metadata"]["name"]: service for service in services}
    running = {pod["metadata"]["name"]: pod for pod in pods}
    for found in slices:
        service = named.get(found["metadata"].get("labels", {}).get("kubernetes.io/service-name", ""))
        for endpoint in found["endpoints"] or []:
            pod = running.get((endpoint.get("targetRef") or {}).get("name", ""))
            for port in found["ports"] or []:
                own = labels("endpointslice", found) | {f"{META}endpointslice_port_name": port.get("name", "")}
                own |= labels("service", service) if service else {}
                if pod:
                    own |= labels("pod", pod)
                    containers = [name for name, its in ports(pod) if its["containerPort"] == port["port"]]
                    own |= {f"{META}pod_container_name": name for name in containers}
                yield {"targets": [f"{address}:{port['port']}" for address in endpoint["addresses"]], "labels": own}


def listed(group: str, kind: str) -> list[dict[str, Any]]:
    """All of that kind in the namespace that is watched."""
    url = f"https://kubernetes.default.svc/{group}/namespaces/{os.environ['NAMESPACE']}/{kind}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {(SECRETS / 'token').read_text()}"})
    trusted = ssl.create_default_context(cafile=str(SECRETS / "ca.crt"))
    trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT  # not each cluster's own authority says what its key is for
    with urllib.request.urlopen(request, timeout=5, context=trusted) as answer:
        found: list[dict[str, Any]] = json.load(answer)["items"]
    return found


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # as the library calls it
        pods = listed("api/v1", "pods")
        if self.path == "/pod":
            targets = pod_targets(pods)
        else:
            slices, services = listed("apis/discovery.k8s.io/v1", "endpointslices"), listed("api/v1", "services")
            targets = endpoint_targets(slices, services, pods)
        body = json.dumps(list(targets)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not a line a request."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
