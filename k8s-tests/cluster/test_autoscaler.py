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
        wait_for("the autoscaler adds two pods", lambda: len(polka.ready_pods("api")) == 4, seconds=180)
        wait_for("each new pod gets its share", lambda: least_share(polka, old) > FAIR, SHARE_SECONDS)
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


def least_share(polka: Release, old: set[str]) -> float:
    """What the new pod that takes least takes, as a part of an equal share, over some seconds."""
    first = polka.taken()
    time.sleep(3)
    second = polka.taken()
    counts = {pod: second[pod] - first.get(pod, 0) for pod in second}
    new = [count for pod, count in counts.items() if pod not in old]
    return min(new) * len(counts) / max(1, sum(counts.values())) if new else 0
