"""A storm over one bank with a cap: at no committed state is it exceeded, whatever is killed, frozen, or slow.

Eight clients pay from the bank and to it, and delete what it received, through two apis, and repeat what they got no
answer to. An operator lowers and raises its cap. Meanwhile apis and the cache get SIGKILL, or SIGSTOP and later
SIGCONT, a second cache takes over, and some commits take seconds. Afterwards all commits are replayed in their order.
"""

import asyncio
import contextlib
import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import httpx
import pytest

from proof import prove
from services import KEY, Service, Services, bearer, client, payment, wait_for
from whole import Transport

BANK = "bank1"
CAPS = (1_000, 600)
CLIENTS = 8
SECONDS_MAX = 180
IMPATIENT = {
    "POLKA_COMMIT_TIMEOUT_SECONDS": "3",
    "POLKA_FLUSH_TIMEOUT_SECONDS": "3",
    "POLKA_FLUSH_SECONDS": "0.3",
    "POLKA_CACHE_TIMEOUT_SECONDS": "0.5",
}
LOG = """
CREATE TABLE commits (batch uuid, payload json);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO commits VALUES (NEW.id, NEW.payload);
    IF random() < 0.05 THEN
        PERFORM pg_sleep(2 * random());
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER log AFTER INSERT ON batches FOR EACH ROW WHEN (NEW.payload IS NOT NULL) EXECUTE FUNCTION log();
"""
"""Each commit leaves a row that nobody changes later, so its time is that of the commit; and some take their time."""
HISTORY = """
SELECT pg_xact_commit_timestamp(xmin) AS at, payload, NULL AS caps FROM commits
UNION ALL SELECT pg_xact_commit_timestamp(xmin), NULL, caps::text FROM bank_terms
ORDER BY at
"""
BALANCE = f"""
SELECT coalesce(sum((entry->>3)::int), 0) FROM commits, json_array_elements(payload) AS entry WHERE entry->>0 = '{BANK}'
"""


class Storm:
    """What the clients were told of each request, by its key."""

    def __init__(self, seed: int, apis: list[Service], cache: Service) -> None:
        self.seed = seed
        self.apis = apis
        self.cache = cache
        self.is_over = threading.Event()
        self.accepted: set[str] = set()
        self.refused: set[str] = set()
        self.answers: dict[str, int] = {}
        self.faults: dict[str, int] = {}
        self.changes = 0

    def is_enough(self) -> bool:
        return (
            self.answers.get("accepted", 0) >= 200
            and self.answers.get("cap_exceeded", 0) >= 50
            and min(self.faults.get(fault, 0) for fault in ("kill", "freeze", "usurp")) >= 1
            and sum(self.faults.values()) >= 25
            and self.changes >= 10
        )

    def chance(self, number: int) -> random.Random:
        return random.Random(f"{self.seed}/{number}")


def sender(storm: Storm, number: int) -> None:
    """One client: sends requests, each until its answer is certain or the storm is over."""
    chance = storm.chance(number)
    received: list[str] = []
    with httpx.Client(transport=Transport(), headers=bearer(KEY)) as http:
        while not storm.is_over.is_set():
            key = uuid.uuid4().hex
            kind = chance.choices(["out", "in", "delete"], [6, 3, 1])[0]
            request: tuple[str, str, Any, dict[str, str]]
            if kind == "delete" and received:
                request = ("DELETE", f"/transaction/{received.pop()}", None, {"reason": key})
            else:
                banks = (BANK, "bank2") if kind == "out" else ("bank2", BANK)
                amount = chance.randint(1, 300)
                request = ("POST", "/transaction", payment(amount, *banks, reference=key), {})
            answer = send(storm, http, chance, key, *request)
            if answer is not None and request[0] == "POST" and kind != "out":
                received.append(answer["id"])


def send(
    storm: Storm, http: httpx.Client, chance: random.Random, key: str, method: str, path: str, body: Any, params: Any
) -> dict[str, Any] | None:
    while not storm.is_over.is_set():
        seconds = chance.choice((0.5, 2, 5))
        try:
            response = http.request(
                method,
                chance.choice(storm.apis).url + path,
                json=body,
                params={**params, "timeout": f"{seconds}s"},
                headers={"Idempotency-Key": key},
                timeout=seconds * chance.choice((0.5, 2)),
            )
        except httpx.HTTPError:
            time.sleep(chance.uniform(0, 0.1))
            continue
        answer: dict[str, Any] = response.json()
        name = answer.get("code", "accepted")
        storm.answers[name] = storm.answers.get(name, 0) + 1
        if response.is_success:
            storm.accepted.add(key)
            return answer
        if response.status_code not in (503, 504):
            storm.refused.add(key)
            return None
        time.sleep(chance.uniform(0, 0.1))
    return None


def operate(storm: Storm) -> None:
    """Change the cap again and again."""
    chance = storm.chance(-1)
    while not storm.is_over.wait(chance.uniform(0.2, 1.5)):
        with contextlib.suppress(httpx.HTTPError):
            url = f"{chance.choice(storm.apis).url}/banks/{BANK}"
            response = client.patch(url, json={"caps": {"USD": chance.choice(CAPS)}}, timeout=5)
            storm.changes += response.is_success


def strike(storm: Storm, services: Services, service: Service, number: int) -> None:
    """Kill or freeze one service, again and again; it is always started anew. A cache may find another in its place."""
    chance = storm.chance(-2 - number)
    while not storm.is_over.wait(chance.uniform(0.2, 3)):
        fault = chance.choice(["kill", "freeze", "freeze", *(["usurp"] if service is storm.cache else [])])
        storm.faults[fault] = storm.faults.get(fault, 0) + 1
        if fault == "freeze":
            with service.frozen():
                time.sleep(chance.choice((0.1, 1, 3)))
        elif fault == "kill":
            service.kill()
        else:
            usurper = services.another_cache(**IMPATIENT)
            with contextlib.suppress(AssertionError):
                usurper.ready(10)
            time.sleep(chance.uniform(0, 2))
            usurper.kill()
            service.kill()
        if service.process.poll() is not None:
            service.restart(60)


@pytest.mark.parametrize("seed", [1, 2])
def test_at_no_committed_state_is_the_cap_exceeded(services: Services, seed: int) -> None:
    cache = services.cache(**IMPATIENT).ready()
    apis = [services.api(**IMPATIENT).ready() for _ in range(2)]
    storm = Storm(seed, apis, cache)
    client.patch(f"{apis[0].url}/banks/{BANK}", json={"caps": {"USD": CAPS[0]}}).raise_for_status()
    execute(services.database_url, LOG)
    with ThreadPoolExecutor(16) as pool:
        work: list[tuple[Callable[..., None], Any]] = [(sender, (storm, number)) for number in range(CLIENTS)]
        work += [(operate, (storm,))]
        work += [(strike, (storm, services, service, number)) for number, service in enumerate([cache, *apis])]
        running = [pool.submit(function, *arguments) for function, arguments in work]
        try:
            wait_for("enough has happened", storm.is_enough, SECONDS_MAX)
        finally:
            storm.is_over.set()
        for one in running:
            one.result()
    for service in (cache, *apis):
        if service.process.poll() is not None:
            service.restart(60)
        service.ready(60)
    execute(services.database_url, "DROP TRIGGER log ON batches")
    began = time.monotonic()
    use_it_again(services, apis[0])
    assert time.monotonic() - began < 15, "the cap is usable again"

    history = asyncio.run(fetch(services.database_url, HISTORY))
    lowest = replay(history)
    keys = asyncio.run(
        fetch(services.database_url, "SELECT reference, id FROM transactions WHERE reference IS NOT NULL")
    )
    reasons = asyncio.run(fetch(services.database_url, "SELECT reason, id FROM transaction_history"))
    stored = {row[0] for row in (*keys, *reasons)}
    assert storm.accepted <= stored
    assert not storm.refused & stored
    assert len(keys) == len({row[0] for row in keys}), "each key has paid once"
    prove(services.database_url, cache.url)
    assert lowest < 0


def use_it_again(services: Services, api: Service) -> None:
    """Bring the bank to zero, and pay all but a twentieth of its cap at once."""
    client.patch(f"{api.url}/banks/{BANK}", json={"caps": {"USD": CAPS[0]}}).raise_for_status()
    [[balance]] = asyncio.run(fetch(services.database_url, BALANCE))
    if balance < 0:
        client.post(f"{api.url}/transaction", json=payment(-balance, "bank2", BANK)).raise_for_status()
    amount = CAPS[0] * 95 // 100 + max(balance, 0)
    wait_for(
        "95 % of the cap are usable",
        lambda: client.post(f"{api.url}/transaction", json=payment(amount, BANK)).is_success,
    )


def replay(history: list[Any]) -> int:
    """The bank's lowest balance; after each commit that has lowered it, it is within the cap that was in force."""
    balance, lowest, cap = 0, 0, None
    for row in history:
        if row["caps"] is not None:
            cap = json.loads(row["caps"])["USD"]
            continue
        net = sum(amount for bank, _, _, amount in json.loads(row["payload"]) if bank == BANK)
        balance += net
        lowest = min(lowest, balance)
        assert net >= 0 or cap is None or balance >= -cap, f"at {row['at']}: {balance}, the cap is {cap}"
    return lowest


async def fetch(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    rows: list[Any] = await connection.fetch(query)
    await connection.close()
    return rows


def execute(url: str, statement: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(work())
