"""Objects against the schemas of their kinds, strictly: an unknown field is a fault."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from chart.objects import name
from chart.rendering import Object, Rendered

CUSTOM_RESOURCES = yaml.load((Path(__file__).parent / "custom-resources.yaml").read_text(), yaml.CSafeLoader)
NAME_LENGTHS = {"StatefulSet": 52}
"""With a revision's hash behind it, its name is a label's value."""


def faults(rendered: Rendered) -> Iterator[str]:
    for found in rendered.objects:
        yield from schema_faults(json.dumps(found, sort_keys=True), rendered.kubernetes)
        longest = NAME_LENGTHS.get(found["kind"], 63)
        if len(found["metadata"]["name"]) > longest:
            yield f"{name(found)}: its name is longer than {longest} characters"


@functools.cache
def schema_faults(text: str, version: str) -> tuple[str, ...]:
    """Most objects of two renderings are the same: each is looked at once."""
    found: Object = json.loads(text)
    try:
        if (kind := f"{found['apiVersion']}/{found['kind']}") in CUSTOM_RESOURCES:
            jsonschema.validate(found, custom_resource(kind))
        else:
            kubernetes_validate.validate(found, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        return (f"{name(found)}: {error.message}",)
    except jsonschema.ValidationError as error:
        place = ".".join(map(str, error.path))
        return (f"{name(found)}: {place}: {error.message}",)
    return ()


def custom_resource(kind: str) -> dict[str, Any]:
    return {**CUSTOM_RESOURCES[kind], "definitions": CUSTOM_RESOURCES["definitions"]}
