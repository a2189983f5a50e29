"""What the runbooks tell an operator to do, done: the statements in them mend what they are for."""

import json
import re
import uuid
from pathlib import Path

import asyncpg
import pytest

from exposed import page
from polka.audit import snapshot
from services import CACHE_TOKEN, Services, cache_client, client, payment, wait_for

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
RUNBOOKS, SOURCE = ROOT / "docs" / "runbooks", ROOT / "src"
PAYLOADS = "SELECT id, payload::jsonb FROM batches"


def statement(runbook: str, number: int, batch: uuid.UUID) -> str:
    """The runbook's SQL block of this number, with psql's variable `batch` set."""
    blocks: list[str] = re.findall(
        r"^```sql\n(.*?)^```", (RUNBOOKS / f"{runbook}.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return blocks[number].replace(":'batch'", f"'{batch}'")


SAID = {
    "PolkaAuditOld": "the audit could not run",
    "PolkaBatchSetAside": "a batch is set aside: its row cannot be posted",
    "PolkaEpochsContending": "Another cache has taken over; this one has written nothing since, and ends.",
    "PolkaFlushLagging": "starting again",
    "PolkaPendingTooOld": "a batch is not settled yet",
    "PolkaRatesStale": "no exchange rates are fetched",
}


@pytest.mark.parametrize(("runbook", "said"), SAID.items(), ids=SAID)
def test_what_a_runbook_looks_for_in_the_logs_is_logged(runbook: str, said: str) -> None:
    assert f"`{said}`" in (RUNBOOKS / f"{runbook}.md").read_text()
    assert any(f'"{said}' in path.read_text() for path in SOURCE.rglob("*.py"))


async def test_what_is_set_aside_is_rebuilt_from_its_payments_and_posted(
    services: Services, connection: asyncpg.Connection
) -> None:
    """A payment with a fee, one across currencies, an amendment and a deletion."""
    fees = json.dumps({currency: {"fixed": 25, "basis_points": 0, "minimum": 0} for currency in ("USD", "EUR")})
    await connection.execute(f"SELECT polka_change_terms('bank1', 0, '{{}}', 'no', '{fees}', '{{}}', 'test')")
    api = services.api().ready()
    made = [
        client.post(f"{api.url}/transaction", json=payment(amount, **fields)).raise_for_status().json()
        for amount, fields in ((100, {}), (1250, {"currency": "EUR", "receiver_currency": "USD"}), (300, {}))
    ]
    amended, deleted = (f"{api.url}/transaction/{one['id']}" for one in made[1:])
    client.patch(amended, json={"receiver": {"bank": "bank3", "account": "C1"}}).raise_for_status()
    client.delete(deleted).raise_for_status()
    written = dict(await connection.fetch(PAYLOADS))
    await connection.execute("UPDATE batches SET payload = '[]' WHERE state = 'unposted'")
    cache = services.cache().ready()
    assert await connection.fetchval("SELECT count(*) FROM batches WHERE state = 'aside'") == len(written) == 5
    for batch in written:
        assert await connection.execute(statement("PolkaBatchSetAside", 2, batch)) == "UPDATE 1"
    wait_for("all are posted", lambda: "polka_posted_batches_total 5.0" in page(cache.metrics_url))
    assert dict(await connection.fetch(PAYLOADS)) == written
    assert (await snapshot.audit(services.database_url, cache.url, CACHE_TOKEN)).is_clean


async def test_a_row_without_payments_becomes_a_tombstone(services: Services, connection: asyncpg.Connection) -> None:
    batch = uuid.uuid4()
    row = '[["bank1", "A1", "USD", -5], ["bank2", "B1", "USD", 6]]'
    await connection.execute("INSERT INTO batches (id, size, payload) VALUES ($1, 1, $2)", batch, row)
    cache = services.cache().ready()
    assert await connection.fetchval("SELECT state FROM batches WHERE id = $1", batch) == "aside"
    assert await connection.execute(statement("PolkaBatchSetAside", 2, batch)) == "UPDATE 0"
    assert await connection.execute(statement("PolkaBatchSetAside", 3, batch)) == "UPDATE 1"
    cache.kill()
    cache.restart()
    assert cache_client.get(f"{cache.url}/balance/bank1").json()["balances"] == []
    assert (await snapshot.audit(services.database_url, cache.url, CACHE_TOKEN)).is_clean
