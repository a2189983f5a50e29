"""skaffold.yaml against what it names: files, the image's build, the chart's values, Services and their ports."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import yaml

from chart.objects import of_kind, workloads
from chart.rendering import ROOT, Helm, RefusedError, Rendered, Values
from chart_readme import CHART, values

CONFIG = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
COPY = re.compile(r"^COPY (?:--\S+ )*(\S+) (\S+)$", re.MULTILINE)
ARG = re.compile(r"^ARG (\w+)", re.MULTILINE)
TEMPLATE = re.compile(r"^\{\{\.(IMAGE_(?:REPO|TAG|DIGEST))_(\w+)\}\}$")
BUILT = {"IMAGE_REPO": "polka", "IMAGE_TAG": "5a1f", "IMAGE_DIGEST": ""}
"""What Skaffold says of an image that it has built and not pushed."""

Config = dict[str, Any]


def with_profiles(config: Config, *names: str) -> Config:
    """The configuration as these profiles change it. They may only add: JSON patches with `op: add`."""
    changed = copy.deepcopy(config)
    for profile in config["profiles"]:
        if profile["name"] in names:
            assert profile.keys() <= {"name", "activation", "patches"}, profile["name"]
            for patch in profile["patches"]:
                assert patch["op"] == "add", patch
                add(changed, patch["path"], copy.deepcopy(patch["value"]))
    return changed


def add(config: Config, path: str, value: Any) -> None:
    """As RFC 6902 says it: what a map has under the name is replaced, a list grows."""
    *way, last = path.removeprefix("/").split("/")
    place: Any = config
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if isinstance(place, list):
        place.insert(len(place) if last == "-" else int(last), value)
    else:
        place[last] = value


def faults(config: Config, helm: Helm) -> Iterator[str]:
    for artifact in config["build"]["artifacts"]:
        yield from artifact_faults(artifact)
    [release] = config["deploy"]["helm"]["releases"]
    yield from release_faults(release, config)
    if not (ROOT / release["chartPath"] / "Chart.yaml").exists():
        return
    try:
        rendered = render(release, helm)
    except (RefusedError, FileNotFoundError) as error:
        yield str(error)
        return
    yield from rendered_faults(rendered, config)


def artifact_faults(artifact: Config) -> Iterator[str]:
    dockerfile = ROOT / artifact["context"] / artifact["docker"]["dockerfile"]
    if not dockerfile.exists():
        yield f"there is no {dockerfile.name}"
        return
    copies = dict(COPY.findall(dockerfile.read_text()))
    for argument in artifact["docker"].get("buildArgs", {}):
        if argument not in ARG.findall(dockerfile.read_text()):
            yield f"the Dockerfile has no argument {argument}"
    for rule in artifact.get("sync", {}).get("manual", []):
        files = [path for path in (ROOT / artifact["context"]).glob(rule["src"]) if path.is_file()]
        if not files:
            yield f"there is nothing in {rule['src']}"
        folder = rule["src"].partition("/")[0]
        landing = f"{rule['dest']}/{folder.removeprefix(rule.get('strip', '').rstrip('/'))}".rstrip("/")
        if copies.get(folder) != landing:
            yield f"{folder} is synced to {landing}, and the image has it at {copies.get(folder)}"


def release_faults(release: Config, config: Config) -> Iterator[str]:
    for path in [f"{release['chartPath']}/Chart.yaml", *release.get("valuesFiles", [])]:
        if not (ROOT / path).exists():
            yield f"there is no {path}"
    known = {value.name for value in values((CHART / "values.yaml").read_text())}
    for name in [*release.get("setValues", {}), *release["setValueTemplates"]]:
        if name not in known:
            yield f"the chart has no value {name}"
    images = {artifact["image"] for artifact in config["build"]["artifacts"]}
    for template in release["setValueTemplates"].values():
        found = TEMPLATE.match(template)
        if found is None or found[2] not in images:
            yield f"Skaffold knows no {template}"


def render(release: Config, helm: Helm) -> Rendered:
    """What Skaffold installs: it sets the templates first, then reads the files, then sets the values."""
    templates = {name: TEMPLATE.sub(built, text) for name, text in release["setValueTemplates"].items()}
    chosen: Values = {}
    for path in release.get("valuesFiles", []):
        chosen |= yaml.safe_load((ROOT / path).read_text())
    options = [f"--set={name}={value}" for name, value in templates.items()]
    options += [f"--set={name}={str(value).lower()}" for name, value in release.get("setValues", {}).items()]
    return helm.template(chosen, release=release["name"], chart=ROOT / release["chartPath"], options=options)


def built(found: re.Match[str]) -> str:
    return BUILT.get(found[1], "")


def rendered_faults(rendered: Rendered, config: Config) -> Iterator[str]:
    image = f"{BUILT['IMAGE_REPO']}:{BUILT['IMAGE_TAG']}"
    used = {container["image"] for workload in workloads(rendered.objects) for container in workload.containers()}
    if image not in used:
        yield f"nothing runs {image}"
    services = {service["metadata"]["name"]: service for service in of_kind(rendered.objects, "Service")}
    [release] = config["deploy"]["helm"]["releases"]
    for forward in config["portForward"]:
        service = services.get(forward["resourceName"])
        if forward["resourceType"] != "service" or service is None:
            yield f"there is no {forward['resourceType']} {forward['resourceName']}"
        elif forward["port"] not in [port["port"] for port in service["spec"]["ports"]]:
            yield f"{forward['resourceName']} has no port {forward['port']}"
        if forward["namespace"] != release["namespace"]:
            yield f"{forward['resourceName']} is not in the namespace {forward['namespace']}"
    local = [forward["localPort"] for forward in config["portForward"]]
    if len(set(local)) != len(local):
        yield f"one port here is for two: {local}"
