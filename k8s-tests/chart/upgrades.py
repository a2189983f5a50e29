"""What upgrades change: what Kubernetes would refuse, and whose pods are replaced."""

import copy
from collections.abc import Iterator
from typing import Any

from chart.objects import name
from chart.rendering import Object, Rendered

STATEFULSET_MUTABLE = {
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "revisionHistoryLimit",
    "template",
    "updateStrategy",
}
JOB_MUTABLE = {"activeDeadlineSeconds", "backoffLimit", "parallelism", "suspend", "ttlSecondsAfterFinished"}
HOOK = "helm.sh/hook"


def faults(before: Rendered, after: Rendered) -> Iterator[str]:
    """The changes from one rendering to another that Kubernetes would refuse."""
    old = {name(found): found for found in before.objects}
    for found in after.objects:
        if name(found) in old and HOOK not in found["metadata"].get("annotations", {}):
            was, will_be = immutable(old[name(found)]), immutable(found)
            for field in sorted(was.keys() | will_be.keys()):
                if was.get(field) != will_be.get(field):
                    yield f"{name(found)}: {field} cannot be changed"


def immutable(found: Object) -> dict[str, Any]:
    spec = found.get("spec", {})
    match found["kind"]:
        case "Deployment":
            return {"selector": spec["selector"]}
        case "StatefulSet":
            return {field: value for field, value in spec.items() if field not in STATEFULSET_MUTABLE}
        case "Job":
            return {field: value for field, value in spec.items() if field not in JOB_MUTABLE}
        case "Pod":
            return dict(spec)
        case "Service":
            return {"clusterIP": spec.get("clusterIP"), "ipFamilies": spec.get("ipFamilies")}
        case "PersistentVolumeClaim":
            return {field: value for field, value in spec.items() if field != "resources"}
        case "Secret":
            return {"type": found.get("type"), "immutable": found.get("immutable")}
        case "ConfigMap":
            return {"immutable": found.get("immutable")}
    return {}


def differences(first: Rendered, second: Rendered) -> Iterator[str]:
    """What two renderings with the same values do not have in common, but for what is drawn by chance in Secrets."""
    one, other = ({name(found): without_chance(found) for found in each.objects} for each in (first, second))
    for found in sorted(one.keys() | other.keys()):
        if one.get(found) != other.get(found):
            yield f"{found}: it is not twice the same"


def without_chance(found: Object) -> Object:
    if found["kind"] != "Secret":
        return found
    kept = copy.deepcopy(found)
    kept["data"] = sorted(found["data"])
    return kept


def replaced_pods(before: Rendered, after: Rendered) -> Iterator[str]:
    """The workloads whose pods an upgrade replaces, and the Jobs that it runs again."""
    old = {name(found): found for found in before.objects}
    for found in after.objects:
        if "template" in found.get("spec", {}):
            was = old.get(name(found))
            if was is None or was["spec"]["template"] != found["spec"]["template"]:
                yield name(found)
