"""compose.yaml against the product: its settings, commands, ports and secrets are those of Polka."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from api import settings as api
from cache import settings as cache
from polka.edge import server, tls
from polka.edge.bounds import Bounds
from polka.service import logs, traces
from polka.service.settings import variable
from taken import takes

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "polka"}
PROXY: str = COMPOSE["configs"]["proxy"]["content"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OF_SERVICES = (
    api.Settings,
    cache.Settings,
    Bounds,
    server.Settings,
    tls.Settings,
    tls.CacheSettings,
    logs.Settings,
    traces.Settings,
)
OF_COMMANDS = {"POLKA_KEY", "POLKA_NEW_KEY", "PGPASSWORD"}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_exists(name: str) -> None:
    known = {variable(field.name) for kind in OF_SERVICES for field in msgspec.structs.fields(kind)} | OF_COMMANDS
    assert OURS[name]["environment"].keys() <= known


@pytest.mark.parametrize("name", OURS)
def test_every_command_takes_its_options(name: str) -> None:
    command, *options = OURS[name]["command"]
    assert takes(command, options)


def test_each_address_leads_to_a_service_and_its_port() -> None:
    ports = {name: option_of(service, "--port") for name, service in OURS.items()} | {
        "postgres": "5432",
        "proxy": "8000",
    }
    found = re.findall(r"(?://|@)(\w+):(\d+)", (ROOT / "compose.yaml").read_text())
    assert {host for host, _ in found} == {"cache", "postgres", "proxy"}
    assert [(host, port) for host, port in found if ports[host] != port] == []


def test_the_proxy_asks_each_api_for_its_health_and_clients_reach_nothing_else() -> None:
    port = option_of(OURS["api"], "--port")
    assert re.search(rf"server-template api \d+ api:{port}$", PROXY, re.MULTILINE)
    health = int(port or 0) + 1
    assert f"check inter 1s port {health} " in PROXY
    assert f"http://127.0.0.1:{health}/health/ready" in OURS["api"]["healthcheck"]["test"][-1]
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"proxy"}
    assert SERVICES["proxy"]["ports"] == ["127.0.0.1:8000:8000"]


def test_the_proxys_configuration_is_valid(tmp_path: Path) -> None:
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("haproxy is not installed: `apt-get install haproxy` on Debian and Ubuntu.")
    (tmp_path / "haproxy.cfg").write_text(PROXY)
    done = subprocess.run([program, "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_every_secret_is_asked_for_and_explained() -> None:
    page = (ROOT / "docs" / "running.md").read_text()
    asked = set(re.findall(r"\$\{(\w+)(\S*)", (ROOT / "compose.yaml").read_text()))
    assert {name for name, _ in asked} == {"POSTGRES_PASSWORD", "POLKA_CACHE_TOKEN", "POLKA_KEY"}
    assert {rest for _, rest in asked} == {":?is"}
    assert [name for name, _ in asked if f'echo "{name}=' not in page] == []


def test_the_operators_key_has_all_scopes() -> None:
    chart = (ROOT / "charts" / "polka" / "templates" / "migration" / "job.yaml").read_text()
    scopes = {word.removeprefix("--scope=") for word in OURS["key"]["command"] if word.startswith("--scope=")}
    assert scopes == set(re.findall(r'"([a-z]+:write|[a-z]+:read|operate)"', chart))


def test_each_waits_for_services_that_exist() -> None:
    waited = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert waited <= SERVICES.keys()


def test_each_target_that_is_built_exists_and_the_services_image_is_the_default() -> None:
    targets = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    released = [kind["target"] for kind in workflow["jobs"]["image"]["strategy"]["matrix"]["include"]]
    assert released == ["polka", "local"]
    assert {*released, COMPOSE["x-polka"]["build"]["target"]} <= set(targets)
    assert re.findall(r"^FROM .*", DOCKERFILE, re.MULTILINE)[-1] == "FROM polka"


def option_of(service: dict[str, Any], option: str) -> str | None:
    return next((word.partition("=")[2] for word in service["command"] if word.startswith(f"{option}=")), None)
