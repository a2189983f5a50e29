"""The spammer's Job, through the Service, to all api pods."""

import pytest

from cluster.release import Release, acknowledged

pytestmark = pytest.mark.cluster

PAYMENTS = 20_000


def test_a_spam_job_pays_and_every_api_pod_takes_its_share(polka: Release) -> None:
    before = polka.taken()
    job = polka.spam("load", maxWorkers=120, transactions=PAYMENTS)
    log = job.ended()
    taken = {pod: count - before[pod] for pod, count in polka.taken().items()}
    print(log[-700:], taken)
    assert acknowledged(log) == PAYMENTS == job.stored()
    assert "The audit is clean." in polka.audit()
    assert len(taken) == 2
    assert all(0.3 < count / sum(taken.values()) < 0.7 for count in taken.values()), taken
