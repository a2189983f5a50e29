"""skaffold.yaml, in all of its profiles: it is as Skaffold's schema says, and everything that it names is there."""

import copy
import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chart import skaffold
from chart.rendering import Helm

pytestmark = pytest.mark.chart

MODULE = "github.com/GoogleContainerTools/skaffold/v2@v2.23.0"
MODULE_HASH = "h1:JaU5j50XIg5U/tRTCkLnLdIcqihACw1qn71uFzbkh0c="
"""As a go.sum would have it."""
PROFILES = [(), ("dev",), ("spam",), ("dev", "spam")]
RELEASE = "deploy/helm/releases/0"


@functools.cache
def published_schema() -> dict[str, Any]:
    """Skaffold's own schema of the version that skaffold.yaml is in. Its module carries it; Go keeps it."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go, which would get Skaffold's schema")
    command = ["go", "mod", "download", "-json", MODULE]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, cwd="/").stdout or "{}")
    if "Dir" not in found:
        pytest.skip(f"Go could not get Skaffold's schema: {found.get('Error', 'it says nothing')}")
    assert found["Sum"] == MODULE_HASH
    name = skaffold.CONFIG["apiVersion"].removeprefix("skaffold/")
    schema: dict[str, Any] = json.loads((Path(found["Dir"]) / f"docs-v2/content/en/schemas/{name}.json").read_text())
    return schema


@pytest.mark.parametrize("profiles", PROFILES, ids="+".join)
def test_it_is_as_skaffolds_schema_says(profiles: tuple[str, ...]) -> None:
    jsonschema.validate(skaffold.CONFIG, published_schema())
    jsonschema.validate(skaffold.with_profiles(skaffold.CONFIG, *profiles), published_schema())


def test_skaffolds_schema_refuses_an_unknown_key() -> None:
    config = copy.deepcopy(skaffold.CONFIG)
    config["deploy"]["helm"]["releases"][0]["chart"] = "charts/polka"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, published_schema())


@pytest.mark.parametrize("profiles", PROFILES, ids="+".join)
def test_everything_that_it_names_is_there(profiles: tuple[str, ...], helm: Helm) -> None:
    assert list(skaffold.faults(skaffold.with_profiles(skaffold.CONFIG, *profiles), helm)) == []


def test_dev_is_the_profile_of_skaffold_dev_and_syncs_into_pods_that_reload(helm: Helm) -> None:
    profiles = {profile["name"]: profile for profile in skaffold.CONFIG["profiles"]}
    assert profiles.keys() == {"dev", "spam"}
    assert profiles["dev"]["activation"] == [{"command": "dev"}]
    config = skaffold.with_profiles(skaffold.CONFIG, "dev")
    rendered = skaffold.render(config["deploy"]["helm"]["releases"][0], helm)
    [pod] = [found["spec"]["template"]["spec"] for found in rendered.objects if found["kind"] == "Deployment"]
    [container] = pod["containers"]
    assert "--reload" in container["args"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is False
    owner = config["build"]["artifacts"][0]["docker"]["buildArgs"]["SOURCE_OWNER"]
    assert int(owner) == pod["securityContext"]["runAsUser"]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("build/artifacts/0/docker/dockerfile", "Containerfile", "there is no Containerfile"),
        ("build/artifacts/0/docker/buildArgs", {"OWNER": "1"}, "the Dockerfile has no argument OWNER"),
        ("build/artifacts/0/sync/manual/0/src", "source/**", "there is nothing in source/**"),
        ("build/artifacts/0/sync/manual/0/dest", "/srv", "src is synced to /srv/src, and the image has it at /app/src"),
        (f"{RELEASE}/chartPath", "charts/poker", "there is no charts/poker/Chart.yaml"),
        (f"{RELEASE}/valuesFiles", ["values.yaml"], "there is no values.yaml"),
        (f"{RELEASE}/setValues", {"spam.enabled": True}, "the chart has no value spam.enabled"),
        (f"{RELEASE}/setValues", {"spammer.maxWorkers": 0}, "got 0, want 1"),
        (f"{RELEASE}/setValueTemplates/image.name", "polka", "the chart has no value image.name"),
        (f"{RELEASE}/setValueTemplates/image.tag", "{{.IMAGE_TAG_other}}", "Skaffold knows no {{.IMAGE_TAG_other}}"),
        (f"{RELEASE}/setValueTemplates/image.tag", "{{.IMAGE_REPO_polka}}", "nothing runs polka:5a1f"),
        (f"{RELEASE}/namespace", "other", "polka-api is not in the namespace polka"),
        ("portForward/0/resourceName", "polka", "there is no service polka"),
        ("portForward/0/resourceType", "pod", "there is no pod polka-api"),
        ("portForward/0/port", 80, "polka-api has no port 80"),
        ("portForward/1/localPort", 8000, "one port here is for two: [8000, 8000]"),
    ],
)
def test_it_finds(path: str, value: object, said: str, helm: Helm) -> None:
    config = skaffold.with_profiles(skaffold.CONFIG, "dev", "spam")
    *way, last = path.split("/")
    place: Any = config
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = value
    assert [fault for fault in skaffold.faults(config, helm) if said in fault]
