"""The chart's values: each is described, in the schema, and of use; a wrong one is refused with one sentence."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest

import api.settings
import cache.settings
from chart.rendering import CHART, DEFAULTS, SCENARIOS, Helm, RefusedError, Values, merged
from chart_readme import values

pytestmark = pytest.mark.chart

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
TEXT = (CHART / "values.yaml").read_text()
DESCRIBED = values(TEXT)
FREE = {"global"}
"""What the schema knows beside the values: Helm's own."""
GIVEN = {"database_url", "cache_url", "cache_token", "drain_seconds", "clearing_schedule", "rates_url"}
"""Settings that the chart gives itself, from other values."""
UNWANTED = {"no_auth", "allow_lossy_database", "name", "control_socket", "control_token"}
"""Settings that are for one machine alone: a pod is called what its host is, and drills are of `polka up`."""


def nested(name: str, value: Any) -> Values:
    """The value under its dotted name."""
    for key in reversed(name.split(".")):
        value = {key: value}
    return dict(value)


def schema_of(path: tuple[str, ...]) -> dict[str, Any]:
    found = SCHEMA
    for key in path:
        found = found["properties"][key]
    return dict(found)


def sections(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where the schema names keys."""
    if "properties" in schema:
        yield path
        for key, inner in schema["properties"].items():
            yield from sections(inner, (*path, key))


def undescribed(schema: dict[str, Any]) -> set[str]:
    """The values that either the schema or values.yaml does not have."""
    known = {value.path for value in DESCRIBED}
    in_schema = set()

    def look(part: dict[str, Any], path: tuple[str, ...]) -> None:
        if path in known or "properties" not in part:
            in_schema.add(path)
        else:
            for key, inner in part["properties"].items():
                look(inner, (*path, key))

    look(schema, ())
    return {".".join(path) for path in in_schema ^ known} - FREE


def test_each_value_is_described_and_in_the_schema_and_none_is_only_there() -> None:
    assert undescribed(SCHEMA) == set()


def test_it_would_be_found_if_one_were_missing() -> None:
    schema = copy.deepcopy(SCHEMA)
    del schema["properties"]["api"]["properties"]["replicas"]
    schema["properties"]["cache"]["properties"]["size"] = {"type": "integer"}
    assert undescribed(schema) == {"api.replicas", "cache.size"}
    with pytest.raises(ValueError, match=r"image\.repository has no comment"):
        values(TEXT.replace("  # -- Polka's image.\n", ""))


def test_defaults_and_scenarios_are_as_the_schema_says() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    for given in SCENARIOS.values():
        jsonschema.validate(merged(DEFAULTS, given), SCHEMA)


SECTIONS = list(sections(SCHEMA))


@pytest.fixture(scope="module")
def unknown_keys(helm: Helm) -> list[str]:
    """What Helm says of values that have an unknown key in each section: it names all of them at once."""
    values: Values = {}
    for path in SECTIONS:
        values = with_nulls(values, nested(".".join((*path, "nonsense")), 1))
    with pytest.raises(RefusedError) as refused:
        helm.template(values)
    return [line.strip(" -") for line in str(refused.value).splitlines()]


@pytest.mark.parametrize("path", SECTIONS, ids=".".join)
def test_an_unknown_key_is_refused_wherever_it_stands(path: tuple[str, ...], unknown_keys: list[str]) -> None:
    assert schema_of(path)["additionalProperties"] is False
    place = "".join(f"/{key}" for key in path)
    assert f"at '{place}': additional properties 'nonsense' not allowed" in unknown_keys


@pytest.mark.parametrize(("service", "kind"), [("api", api.settings.Settings), ("cache", cache.settings.Settings)])
def test_a_services_settings_are_those_that_the_chart_does_not_give(service: str, kind: type[msgspec.Struct]) -> None:
    fields = {field.name for field in msgspec.structs.fields(kind)}
    assert set(schema_of((service, "settings"))["properties"]) == fields - GIVEN - UNWANTED


TOO_MANY = "This many api pods may need {} connections to the database, which gives {} ({})."
WRONG = [
    ({"cache.replicas": 2}, "cache.replicas is 2: there is one cache, and a second would take over from it."),
    ({"cache.replicas": 0}, "cache.replicas is 0: there is one cache, and a second would take over from it."),
    (
        {"externalDatabase.host": "ledger"},
        "Choose one database: postgres.enabled is true and externalDatabase.host is set.",
    ),
    (
        {"postgres.enabled": False},
        "There is no database: postgres.enabled is false and externalDatabase.host is empty.",
    ),
    (
        {"api.autoscaling.enabled": True, "api.resources.requests.cpu": None},
        "The autoscaler aims at a share of api.resources.requests.cpu, which is not set.",
    ),
    (
        {"api.autoscaling.enabled": True, "api.autoscaling.minReplicas": 7},
        "api.autoscaling.minReplicas (7) is more than api.autoscaling.maxReplicas (6).",
    ),
    (
        {"api.autoscaling.enabled": True, "api.autoscaling.maxReplicas": 18},
        TOO_MANY.format(448, 200, "postgres.settings.max_connections"),
    ),
    (
        {"api.replicas": 10, "postgres.enabled": False, "externalDatabase.host": "ledger"},
        TOO_MANY.format(256, 100, "externalDatabase.maxConnections"),
    ),
    (
        {"api.replicas": 5, "api.settings.database_pool_size": 30},
        TOO_MANY.format(396, 200, "postgres.settings.max_connections"),
    ),
    (
        {"monitoring.serviceMonitor.enabled": True, "monitoring.podMonitor.enabled": True},
        "monitoring.serviceMonitor and monitoring.podMonitor would scrape everything twice: enable one.",
    ),
    (
        {"monitoring.podMonitor.enabled": True},
        "Prometheus could not scrape the pods: name in networkPolicy.metricsFrom where it runs.",
    ),
    (
        {"api.service.nodePort": 30080},
        "api.service.nodePort is set, and api.service.type is ClusterIP, which has none.",
    ),
    (
        {"secrets.operatorKeyKey": "both", "secrets.cacheTokenKey": "both"},
        "secrets.operatorKeyKey, spammerKeyKey and cacheTokenKey are not all different: one Secret holds them.",
    ),
    (
        {"postgres.enabled": False, "externalDatabase.host": "ledger", "externalDatabase.sslMode": "verify-full"},
        "externalDatabase.sslMode is verify-full, and externalDatabase.caSecret names no authority to verify against.",
    ),
    ({"httpRoute.enabled": True}, "httpRoute.parentRefs is empty: name the gateway that the route hangs on."),
    ({"api.replica": 2}, "at '/api': additional properties 'replica' not allowed"),
    ({"replicas": 2}, "at '': additional properties 'replicas' not allowed"),
    ({"api.settings.rate": 2}, "at '/api/settings': additional properties 'rate' not allowed"),
    ({"api.replicas": "2"}, "at '/api/replicas': got string, want integer"),
    (
        {"image.pullPolicy": "Sometimes"},
        "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
    ),
    ({"image.digest": "0123"}, "at '/image/digest': '0123' does not match pattern '^(sha256:[0-9a-f]{64})?$'"),
    ({"spammer.maxWorkers": 0}, "at '/spammer/maxWorkers': minimum: got 0, want 1"),
    (
        {"spammer.currencies": "USD EUR"},
        "at '/spammer/currencies': 'USD EUR' does not match pattern '^[A-Z]{3}(,[A-Z]{3})*$'",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), WRONG, ids=lambda of: " ".join(of) if isinstance(of, dict) else "")
def test_wrong_values_are_refused_with_one_sentence(given: dict[str, Any], sentence: str, each_helm: Helm) -> None:
    wrong: Values = {}
    for name, value in given.items():
        wrong = with_nulls(wrong, nested(name, value))
    with pytest.raises(RefusedError) as refused:
        each_helm.template(wrong)
    assert refusal(str(refused.value)) == sentence


def with_nulls(one: Any, other: Any) -> Any:
    """Both values together; null stays null."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return one | {key: with_nulls(one.get(key), value) for key, value in other.items()}


def refusal(said: str) -> str:
    """What Helm says without what stands around it in every refusal."""
    lines = [line for line in said.splitlines() if line and line != "Use --debug flag to render out invalid YAML"]
    assert len(lines) in (1, 3), said
    if len(lines) == 3:  # of the schema: two lines tell of which chart
        return lines[2].removeprefix("- ")
    return lines[0].partition("validations.yaml:")[2].partition(": ")[2]
