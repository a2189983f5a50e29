"""Who reaches whom, as the NetworkPolicies have it: what Polka needs, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chart.commands import addresses
from chart.objects import Workload, of_kind, selects, workloads
from chart.references import ports
from chart.rendering import Object, Rendered

EDGES = {
    ("api", "cache", 8100),
    ("api", "postgres", 5432),
    ("cache", "postgres", 5432),
    ("migrate", "postgres", 5432),
    ("spammer", "api", 8000),
    ("spammer-web", "api", 8000),
    ("spammer-worker", "api", 8000),
    ("spammer-worker", "spammer-web", 5557),
    ("test", "api", 8000),
    ("test", "cache", 8100),
    ("test", "postgres", 5432),
}
"""Client, server, and the server's port."""
OTHER_PORT = 22
"""One that no pod has."""
DNS_PORTS: list[Object] = [{"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")]


@dataclass(frozen=True)
class Place:
    """One end of a connection: a pod of some namespace, or an address that is none of the cluster's."""

    labels: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    is_ours: bool = True
    """It is a pod in the release's own namespace."""


STRANGER = Place()
OUTSIDE = Place(is_ours=False)


def faults(rendered: Rendered) -> Iterator[str]:
    policies = of_kind(rendered.objects, "NetworkPolicy")
    if not rendered.values["networkPolicy"]["enabled"]:
        if policies:
            yield "there are policies, though values say no"
        return
    found = {workload.component: workload for workload in workloads(rendered.objects)}
    yield from denial_faults(policies, rendered)
    yield from inner_faults(policies, found)
    yield from guest_faults(policies, found, rendered)
    for component in found:
        yield from outside_faults(policies, component, rendered)
    yield from told_faults(rendered)


def denial_faults(policies: list[Object], rendered: Rendered) -> Iterator[str]:
    """Every pod is denied everything that no policy of its own allows."""
    denials = [
        policy["spec"]["podSelector"]
        for policy in policies
        if not policy["spec"].get("ingress")
        and not policy["spec"].get("egress")
        and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    ]
    for workload in workloads(rendered.objects):
        if not any(selects(workload.labels, selector) for selector in denials):
            yield f"{workload.name}: no policy denies it everything"


def inner_faults(policies: list[Object], found: dict[str, Workload]) -> Iterator[str]:
    """Each component to each: the edges pass, and nothing else does."""
    for client, client_pods in found.items():
        for server, server_pods in found.items():
            everybodys = everybody_reaches(server, policies)
            for port in (*(port["containerPort"] for port in ports(server_pods)), OTHER_PORT):
                leaves, enters = directions(policies, place(client_pods), place(server_pods), port)
                if (client, server, port) in EDGES:
                    if not leaves:
                        yield f"{client} may not leave for {server}:{port}"
                    if not enters:
                        yield f"{server}:{port} does not let {client} in"
                elif leaves and client != server:
                    yield f"{client} may leave for {server}:{port}"
                elif enters and not (everybodys and port == 8000):
                    yield f"{server}:{port} lets {client} in"


def everybody_reaches(component: str, policies: list[Object]) -> bool:
    return component == "api" and any(
        "from" not in rule for policy in policies for rule in policy["spec"].get("ingress", [])
    )


def guest_faults(policies: list[Object], found: dict[str, Workload], rendered: Rendered) -> Iterator[str]:
    """Who comes from elsewhere, as values say."""
    wanted = rendered.values["networkPolicy"]
    guests = {
        ("api", 8000): wanted["apiFrom"] or None,
        ("api", 8001): wanted["metricsFrom"],
        ("cache", 8101): wanted["metricsFrom"],
        ("spammer", 9646): wanted["metricsFrom"],
        ("spammer-web", 9646): wanted["metricsFrom"],
        ("spammer-web", 8089): wanted["spammerWebFrom"],
    }
    for component, workload in found.items():
        for port in (*(port["containerPort"] for port in ports(workload)), OTHER_PORT):
            peers = guests.get((component, port), [])
            for who, guest in (("a stranger", STRANGER), ("somebody outside", OUTSIDE)):
                is_welcome = peers is None or any(is_peer(peer, guest) for peer in peers)
                _, enters = directions(policies, guest, place(workload), port)
                if enters != is_welcome:
                    yield f"{component}:{port} {'lets' if enters else 'does not let'} {who} in"
            rules = [
                rule
                for policy in policies
                if selects(workload.labels, policy["spec"]["podSelector"])
                for rule in policy["spec"].get("ingress", [])
            ]
            if peers and {"ports": [{"port": port}], "from": peers} not in rules:
                yield f"{component}:{port} does not let in whom values name"


def told_faults(rendered: Rendered) -> Iterator[str]:
    """Whomever a pod is told to speak to is there, and an edge leads to it."""
    services = {service["metadata"]["name"]: service for service in of_kind(rendered.objects, "Service")}
    for workload in workloads(rendered.objects):
        for host, port in addresses(workload, rendered):
            if host in services:
                server, target = behind(services[host], port, rendered)
                if server is None:
                    yield f"{workload.name}: Service/{host} has no port {port}"
                elif (workload.component, server.component, target) not in EDGES:
                    yield f"{workload.name}: it is told to speak to {server.component}:{target}, which is no edge"
            elif host not in hosts_outside(rendered):
                yield f"{workload.name}: there is no {host}"


def outside_faults(policies: list[Object], component: str, rendered: Rendered) -> Iterator[str]:
    """Who is told to speak to somebody may look up names, and reach whoever of them is outside; nothing else there."""
    needed = []
    allowed = []
    for workload in workloads(rendered.objects):
        if workload.component == component:
            told = list(addresses(workload, rendered))
            needed += DNS_PORTS if told else []
            needed += [{"port": port} for host, port in told if host in hosts_outside(rendered)]
            allowed += ports_to_outside(policies, workload)
    for port in needed:
        if port not in allowed:
            yield f"{component} may not leave for port {port['port']} outside"
    for port in allowed:
        if port not in needed:
            yield f"{component} may leave for {'port ' + str(port['port']) if port else 'any port'} outside"


def hosts_outside(rendered: Rendered) -> set[str]:
    """Whom values name that is not of the release: a database, whoever publishes rates or collects traces."""
    publisher = urlsplit(rendered.values["rates"]["url"]).hostname
    collector = urlsplit(rendered.values["traces"]["endpoint"]).hostname
    return {host for host in (rendered.values["externalDatabase"]["host"], publisher, collector) if host}


def ports_to_outside(policies: list[Object], workload: Workload) -> list[Object]:
    """Those by which the workload may leave the release; an empty one stands for all."""
    return [
        port
        for policy in policies
        if selects(workload.labels, policy["spec"]["podSelector"])
        for rule in policy["spec"].get("egress", [])
        if any("namespaceSelector" in peer or "ipBlock" in peer for peer in rule.get("to", [{"ipBlock": {}}]))
        for port in rule.get("ports", [{}])
    ]


def behind(service: Object, port: int, rendered: Rendered) -> tuple[Workload | None, int]:
    """The pods behind a Service's port, and theirs."""
    for open_port in service["spec"]["ports"]:
        for workload in workloads(rendered.objects):
            hit = selects(workload.labels, {"matchLabels": service["spec"]["selector"]})
            if hit and open_port["port"] == port and open_port["targetPort"] in place(workload).ports:
                return workload, place(workload).ports[open_port["targetPort"]]
    return None, 0


def place(workload: Workload) -> Place:
    return Place(workload.labels, {port["name"]: port["containerPort"] for port in ports(workload)})


def directions(policies: list[Object], client: Place, server: Place, port: int) -> tuple[bool, bool]:
    """Whether the client may leave for there, and whether the server lets it in."""
    leaves = passes(policies, "Egress", client, server, server, port)
    return leaves, passes(policies, "Ingress", server, client, server, port)


def passes(policies: list[Object], direction: str, subject: Place, peer: Place, server: Place, port: int) -> bool:
    """As Kubernetes has it: whoever no policy is about may do anything, all others what some policy allows."""
    about = [
        policy["spec"]
        for policy in policies
        if subject.is_ours
        and selects(subject.labels, policy["spec"]["podSelector"])
        and direction in policy["spec"]["policyTypes"]
    ]
    rules = [rule for spec in about for rule in spec.get(direction.lower(), [])]
    peers = "to" if direction == "Egress" else "from"
    return not about or any(
        by_port(rule, server, port) and (peers not in rule or any(is_peer(one, peer) for one in rule[peers]))
        for rule in rules
    )


def by_port(rule: Object, server: Place, port: int) -> bool:
    opened = [one["port"] for one in rule.get("ports", []) if one.get("protocol", "TCP") == "TCP"]
    return "ports" not in rule or port in opened or any(server.ports.get(str(one)) == port for one in opened)


def is_peer(peer: Object, place: Place) -> bool:
    """Of namespaces and addresses, which only a cluster has, no one is taken to be meant."""
    inside = "podSelector" in peer and "namespaceSelector" not in peer and "ipBlock" not in peer
    return inside and place.is_ours and selects(place.labels, peer["podSelector"])
