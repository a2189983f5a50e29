"""What dies while payments flow: a pod of each kind, and the nodes under them. Nothing is lost, nothing doubled."""

import time
from collections.abc import Callable

import pytest

from cluster.commands import wait_for
from cluster.release import Release, acknowledged

pytestmark = pytest.mark.cluster

RATE = 250
SENT_BEFORE = 1_000


def spam_and(polka: Release, run: str, die: Callable[[], None], survivor: str | None = None) -> None:
    """Send payments until what dies in the midst is back, and see that every one was recorded once.

    `survivor` is the node on which the spammer itself stays alive.
    """
    home = {"kubernetes.io/hostname": survivor} if survivor else {}
    job = polka.spam(run, maxWorkers=100, transactions=0, rate=RATE, nodeSelector=home)
    job.wait_until_sent(SENT_BEFORE)
    die()
    assert acknowledged(job.stop()) == job.sent() == job.stored()
    wait_for("the audit is clean", lambda: "The audit is clean." in polka.audit())


def pays(polka: Release, node: str | None = None) -> Callable[[], bool]:
    """Whether a payment is recorded, now, by whichever api answers."""
    with polka.client(node) as client:
        for bank in ("before", "after"):
            client.post("/banks", json={"name": bank})
    payment = {
        "sender": {"bank": "before", "account": "A"},
        "receiver": {"bank": "after", "account": "A"},
        "amount": 1,
    }

    def pay() -> bool:
        with polka.client(node) as client:
            return client.post("/transaction?timeout=2s", json=payment).status_code == 201

    return pay


def is_fresh(polka: Release) -> bool:
    """Whether an api knows from the cache what is pending."""
    with polka.client() as client:
        balances = client.get("/banks/bank1").json()["balances"]
    return bool(balances) and all(balance["pending"] is not None for balance in balances)


def replaced(polka: Release, component: str, pods: set[str], count: int) -> Callable[[], bool]:
    """Whether as many pods are ready, none of them one of those."""

    def condition() -> bool:
        uids = {pod["metadata"]["uid"] for pod in polka.pods(component)}
        return not uids & pods and len(polka.ready_pods(component)) == count

    return condition


def kill_pod(polka: Release, component: str, is_back: Callable[[], bool]) -> None:
    pod = polka.pods(component)[0]
    count = len(polka.pods(component))
    began = time.monotonic()
    polka.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")
    wait_for(f"a new {component}", replaced(polka, component, {pod["metadata"]["uid"]}, count))
    wait_for(f"it serves again without that {component}", is_back)
    print(f"{component} killed: recovered after {time.monotonic() - began:.1f} s")


def test_an_api_pod_is_killed(polka: Release) -> None:
    spam_and(polka, "kill-api", lambda: kill_pod(polka, "api", pays(polka)))


def test_the_cache_pod_is_killed(polka: Release) -> None:
    spam_and(polka, "kill-cache", lambda: kill_pod(polka, "cache", lambda: is_fresh(polka)))


def test_the_postgres_pod_is_killed(polka: Release) -> None:
    spam_and(polka, "kill-postgres", lambda: kill_pod(polka, "postgres", pays(polka)))


@pytest.mark.parametrize("component", ["cache", "postgres"])
def test_the_node_loses_power(polka: Release, component: str) -> None:
    cluster = polka.cluster
    node = polka.node_of(component)
    survivor = next(name for name in cluster.nodes() if name != node)
    pay = pays(polka, survivor)

    def cut() -> None:
        cluster.machines.kill(node)
        wait_for(f"{node} is missed", lambda: not cluster.is_ready(node))
        began = time.monotonic()
        cluster.machines.start(node)
        wait_for(f"{node} is back", lambda: cluster.is_ready(node))
        wait_for("payments are recorded", pay)
        wait_for("the cache is fresh", lambda: is_fresh(polka))
        wait_for("two apis are ready", lambda: len(polka.ready_pods("api")) == 2)
        print(f"node of {component} cut: recovered {time.monotonic() - began:.1f} s after its start")

    spam_and(polka, f"cut-{component}", cut, survivor)
