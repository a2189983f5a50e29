"""The autoscaler adds api pods under load, they get their share, and it takes them away again."""

import time

import pytest

from cluster.commands import wait_for
from cluster.release import Release

pytestmark = pytest.mark.cluster

SHARE_SECONDS = 30
FAIR = 0.5
"""Of an equal share: what a new pod takes within half a minute, at least."""


def test_new_api_pods_get_their_share(polka: Release) -> None:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 15}, "scaleUp": {"stabilizationWindowSeconds": 0}}
    autoscaling = {"enabled": True, "minReplicas": 2, "maxReplicas": 4, "targetCPUUtilizationPercentage": 60}
    polka.upgrade(api__autoscaling={**autoscaling, "behavior": behavior}, api__resources__requests__cpu="100m")
    try:
        wait_for("it starts with two", lambda: len(polka.ready_pods("api")) == 2)
        old = set(polka.ready_pods("api"))
        job = polka.spam("scale", maxWorkers=100, transactions=10_000_000)
        job.wait_until_sent(2_000)
        rate_before = rate(polka)
        wait_for_share(polka, old, 3)
        wait_for_share(polka, old, 4)
        print(f"{rate_before:,.0f} payments a second with 2 pods, {rate(polka):,.0f} with 4")
        polka.upgrade(spammer__enabled=False)
        wait_for("the autoscaler takes them away", lambda: len(polka.pods("api")) == 2, seconds=240)
    finally:
        polka.upgrade(api__autoscaling__enabled=False, spammer__enabled=False)


def rate(polka: Release) -> float:
    """Payments a second, over some seconds, of the pods that are there."""
    first, began = polka.taken(), time.monotonic()
    time.sleep(5)
    second = polka.taken()
    return sum(second[pod] - first.get(pod, 0) for pod in second) / (time.monotonic() - began)


def wait_for_share(polka: Release, old: set[str], pods: int) -> None:
    """The autoscaler adds pods until there are so many; each gets its share within half a minute of being ready."""
    wait_for(f"there are {pods} pods", lambda: len(polka.ready_pods("api")) >= pods, seconds=180)
    new = set(polka.ready_pods("api")) - old
    wait_for("each new pod gets its share", lambda: least_share(polka, new) > FAIR, SHARE_SECONDS)


def least_share(polka: Release, new: set[str]) -> float:
    """What the new pod that takes least takes, as a part of an equal share, over some seconds."""
    first = polka.taken()
    time.sleep(3)
    second = polka.taken()
    counts = {pod: second[pod] - first.get(pod, 0) for pod in second}
    return min(counts.get(pod, 0) for pod in new) * len(counts) / max(1, sum(counts.values()))
