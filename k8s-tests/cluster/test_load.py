"""The spammer's Job, through the Service, to all api pods."""

import pytest

from cluster.release import Release, acknowledged, counted

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


def test_a_spam_job_in_several_currencies_with_banks_that_have_terms_ends_well(polka: Release) -> None:
    """Payments that a cap refuses are no failure of the Job; all the others are recorded."""
    caps = "10,000.00 USD, 10,000.00 EUR, 1,000,000 JPY"
    variety = {"currencies": "USD,EUR,JPY", "across": 0.1, "terms": 4, "cap": caps}
    job = polka.spam("variety", maxWorkers=50, transactions=PAYMENTS // 4, **variety)
    log = job.ended()
    print(log[-700:])
    assert counted(log, "cap_exceeded") > 0
    assert acknowledged(log) + counted(log, "cap_exceeded") == PAYMENTS // 4
    assert acknowledged(log) == job.stored()
    currencies = "SELECT count(DISTINCT currency) FROM transactions WHERE receiver_amount IS NOT NULL"
    assert int(polka.sql(currencies)) == 3
    assert "The audit is clean." in polka.audit()
