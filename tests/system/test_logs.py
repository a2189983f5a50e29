"""Logs: what is written, in which form, and what never is."""

import asyncio
import itertools
import json
import logging
import os
import re
import socket
import subprocess
import sys
import uuid
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest
from litestar import Litestar, get

from api.http import problems
from commands import run
from databases import execute
from exposed import value
from polka.local.demo import free_port
from polka.service import logs
from polka.service.instrumentation import Instrumented
from polka.service.logs import Sampling
from running import Running
from services import CACHE_TOKEN, KEY, Service, Services, bearer, cache_client, client, payment, wait_for
from waiting import WAIT_SECONDS
from wire import Fault, Wire

FOREIGN = """\
import asyncio, gc, logging, threading, warnings
from polka.service import logs

class Ungrateful:
    def __del__(self):
        raise RuntimeError("ignored")

async def forget():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    del task
    gc.collect()

async def fail():
    raise RuntimeError("of a task")

with logs.opened("api"):
    warnings.warn("beware")
    logging.getLogger("uvicorn.error").warning("of uvicorn", extra={"color_message": "red"})
    logging.getLogger("litestar").error("two\\nlines \\udcff")
    Ungrateful()
    asyncio.run(forget())
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise RuntimeError("of the process")
"""


def lines(service: Service) -> list[dict[str, Any]]:
    """The lines of a service's log; each of them must be JSON."""
    return [json.loads(line) for line in service.log.read_text().splitlines()]


def has_gone(service: Service) -> bool:
    return "a client went away" in service.log.read_text()


def has_refused(api: Service) -> bool:
    return value(api.metrics_url, "polka_http_requests_total", method="POST", route="/banks", status="400") == 1


def run_python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False, env=environ
    )


def test_every_line_is_json_whoever_writes_it() -> None:
    done = run_python(FOREIGN)
    said = [json.loads(line) for line in done.stderr.splitlines()]
    facts = ["beware", "of uvicorn", "two\nlines \udcff", "ignored", "of a task", "division by zero", "of the process"]
    assert done.returncode == 1
    assert len(said) == len(facts)
    for line, fact in zip(said, facts, strict=True):
        assert fact in line["event"] + line.get("exception", "")
        assert line["process"] == "api"
        assert {"timestamp", "level", "logger"} <= line.keys()
        assert "color_message" not in line


def test_a_service_that_cannot_start_says_why_in_json() -> None:
    done = run(["cache", "--port=1"], {})
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (done.returncode, line["level"]) == (1, "critical")
    assert line["event"] == "POLKA_DATABASE_URL is not set."


def test_text_has_one_line_for_an_event_and_the_same_facts() -> None:
    code = "from polka.service import logs\nwith logs.opened('cache'): logs.log.warning('x', extra={'batch': 'b1'})"
    done = run_python(code, POLKA_LOG_FORMAT="text", POLKA_NAME="cache-1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z cache-1 WARNING x batch=b1\n", done.stderr)


@pytest.mark.parametrize(("level", "said"), [("debug", "bcde"), ("info", "cde"), ("warning", "de"), ("error", "e")])
def test_the_level_holds_for_our_lines_and_debug_for_nobody_elses(level: str, said: str) -> None:
    code = """
import logging
from polka.service import logs
with logs.opened("api"):
    logging.getLogger("httpcore.http11").debug("a")
    log = logging.getLogger("api.posting.writer")
    log.debug("b"), log.info("c"), log.warning("d"), log.error("e")
"""
    done = run_python(code, POLKA_LOG_LEVEL=level)
    assert "".join(json.loads(line)["event"] for line in done.stderr.splitlines()) == said


def test_a_warning_that_repeats_itself_is_a_line_in_a_while_with_their_number() -> None:
    now = 0.0
    sampling = Sampling(lambda: now)

    def passes(line: int, level: int = logging.WARNING, logger: str = "api") -> int | None:
        """How many were left out before, if it passes. Each text has an address in it that no other one has."""
        record = logging.LogRecord(logger, level, "file.py", line, f"<object at {next(numbers):#x}>", (), None)
        return getattr(record, "repeated", 0) if sampling.filter(record) else None

    numbers = itertools.count()
    assert passes(1) == 0
    assert [passes(1) for _ in range(30)] == [None] * 30
    assert passes(2) == 0
    assert passes(1, logger="another") == 0
    assert [passes(3, logging.ERROR) for _ in range(22)] == [0] * 20 + [None] * 2
    assert {passes(4, logging.INFO) for _ in range(50)} == {0}
    now = logs.SAMPLE_SECONDS
    assert passes(1) == 30
    assert passes(3, logging.ERROR) == 2
    now *= 3
    assert passes(1) == 0


def test_what_is_remembered_of_repeated_lines_has_a_bound() -> None:
    sampling = Sampling(lambda: 0.0)
    for line in range(3 * logs.KINDS_MAX):
        assert sampling.filter(logging.LogRecord("api", logging.WARNING, "file.py", line, "text", (), None))
    assert len(sampling._begun) == logs.KINDS_MAX


def test_a_group_that_came_from_its_own_member_is_one_traceback() -> None:
    refused = asyncpg.CheckViolationError("violates a check")
    refused.detail = "Failing row contains (ACC1)."
    group = ExceptionGroup("several", [refused, RuntimeError("another")])
    refused.__context__ = group
    assert set(logs.all_of(group)) == {group, *group.exceptions}
    said = logs.render_exception((ExceptionGroup, group, None))
    assert "violates a check" in said
    assert "ACC1" not in said


def test_an_answer_has_the_id_of_its_request(polka: Running) -> None:
    def answered(url: str, given: str | None = None, **fields: Any) -> str:
        head = bearer(CACHE_TOKEN if url == polka.cache.url else KEY)
        if given:
            head["X-Request-ID"] = given
        answer = httpx.request(
            "POST", f"{url}/transaction", headers=head, trust_env=False, verify=False, timeout=WAIT_SECONDS, **fields
        )
        (own,) = answer.headers.get_list("x-request-id")
        return own

    bodies: list[Any] = [payment(), payment(sender="nobody"), {}, "no object"]
    for url in (polka.url, polka.cache.url):
        for body in bodies:
            assert answered(url, "client-1:a/b", json=body) == "client-1:a/b"
        assert answered(url, "x" * 128) == "x" * 128
        for insane in ("x" * 129, "two words", 'quo"te', "{}"):
            assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", answered(url, insane))
        assert len({answered(url) for _ in range(20)}) == 20
    refused = httpx.get(
        f"{polka.url}/banks", headers=bearer("nothing"), trust_env=False, verify=False, timeout=WAIT_SECONDS
    )
    assert (refused.status_code, "x-request-id" in refused.headers) == (401, True)


@pytest.mark.anyio
async def test_an_exception_in_a_route_is_logged_with_the_id_of_its_request() -> None:
    @get("/breaks")
    async def breaks() -> None:
        raise KeyError("unforeseen")

    said: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(logs.formatter("api", is_json=True).format(record))

    app = Litestar([breaks], exception_handlers=problems.HANDLERS, logging_config=None, openapi_config=None)
    problems.log.addHandler(heard := Heard())
    try:
        transport: Any = httpx.ASGITransport(app=Instrumented(app))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as asking:
            answer = await asking.get("/breaks", headers={"X-Request-ID": "my-request"})
    finally:
        problems.log.removeHandler(heard)
    assert answer.status_code == 500
    (line,) = map(json.loads, said)
    assert (line["request"], line["level"]) == ("my-request", "error")
    assert "unforeseen" in line["exception"]


def test_a_client_that_goes_while_it_sends_is_no_error(services: Services) -> None:
    """The cache sees that whenever an api is killed."""
    cache, api = services.cache().ready(), services.api().ready()
    for service, path, token, is_told in (
        (cache, "/balance", CACHE_TOKEN, has_gone),
        (api, "/banks", KEY, has_refused),
    ):
        url = httpx.URL(service.url)
        with socket.create_connection((url.host, url.port or 0)) as leaving:
            head = [f"POST {path} HTTP/1.1", "Host: here", f"Authorization: Bearer {token}", "Content-Length: 99"]
            leaving.sendall("\r\n".join([*head, "Content-Type: application/json", "", "[1"]).encode())
        wait_for("it is told", partial(is_told, service))
        assert {line["level"] for line in lines(service)} <= {"info", "warning"}


def test_a_traceback_has_no_values_of_rows() -> None:
    refused = asyncpg.CheckViolationError("violates a check")
    refused.detail = "Failing row contains (ACC1)."
    several = ExceptionGroup("several", [RuntimeError("another"), refused])
    for error in (refused, several):
        outer = RuntimeError("outer")
        outer.__cause__ = error
        text = logs.render_exception((type(outer), outer, None))
        assert "violates a check" in text
        assert "ACC1" not in text


def test_a_request_can_be_followed_from_api_to_cache(services: Services) -> None:
    cache, api = services.cache(POLKA_LOG_LEVEL="debug"), services.api(POLKA_LOG_LEVEL="debug")
    cache.ready(), api.ready()
    paid = client.post(f"{api.url}/transaction", json=payment(), headers={"X-Request-ID": "follow-me"}).json()
    batch = paid["batch"]
    wait_for("the batch is posted", lambda: [line for line in lines(cache) if batch in line.get("posted", ())])
    (committed,) = [line for line in lines(api) if line.get("batch") == batch]
    assert committed["requests"] == ["follow-me"]
    (told,) = [line for line in lines(cache) if line.get("batch") == batch]
    assert told["event"] == "told of a batch: pending"

    asyncio.run(execute(services.database_url, "ALTER TABLE banks RENAME TO lost"))
    client.get(f"{api.url}/banks", headers={"X-Request-ID": "ask-both"})
    for service in (api, cache):
        (line,) = [line for line in lines(service) if line.get("request") == "ask-both"]
        assert line["event"] == "a request failed"


def test_no_log_has_a_secret_or_an_account(services: Services, wire: Wire) -> None:
    """At info, through whatever goes wrong: refused payments, bad keys, killed services, a database that is away."""
    account, password = "ACC" + uuid.uuid4().hex[:20].upper(), f"password-{uuid.uuid4().hex}"
    token = f"{KEY[:-6]}abcdef"
    services.database_url = wire.url.replace("postgres@", f"postgres:{password}@")
    cache, api = services.cache().ready(), services.api().ready()
    party = {"bank": "bank1", "account": account}

    def pay(key: str = KEY, **fields: Any) -> int:
        body = payment(reference=token) | {"sender": party, "receiver": party | {"bank": "bank2"}} | fields
        head = bearer(key) | {"Idempotency-Key": uuid.uuid4().hex}
        return client.post(f"{api.url}/transaction", params={"timeout": "3s"}, json=body, headers=head).status_code

    def pay_all() -> set[int]:
        return {
            *(pay(), pay(amount=-1), pay(receiver=party), pay(sender=party | {"account": f"{account}!"})),
            *(pay(sender=party | {"bank": "nobody"}), pay(key=token), pay(key=CACHE_TOKEN), pay(key=f"{KEY}x")),
            client.get(f"{api.url}/banks/bank1/accounts", params={"account": account}).status_code,
        }

    answers = pay_all()
    cache_client.get(f"{cache.url}/balance", headers=bearer(token))
    cache.kill()
    answers |= pay_all()
    cache.restart()
    wire.refuse()
    wire.cut()
    answers |= pay_all()
    wire.accept()
    wire.arm(Fault.LOSE_ANSWER, b"INSERT INTO batches".__contains__)
    pay()
    api.kill()
    api.restart()
    answers |= pay_all()
    for place in ("127.0.0.1:1", "127.0.0.1:port", "[::1"):
        environ = os.environ | {"POLKA_DATABASE_URL": f"postgresql://u:{password}@{place}", "POLKA_CACHE_TOKEN": token}
        done = run(["cache", f"--port={free_port()}"], environ)
        (line,) = map(json.loads, done.stderr.splitlines())
        assert (done.returncode, line["level"]) == (1, "critical")
        assert password not in done.stderr + done.stdout
    assert answers >= {200, 201, 400, 401, 422, 503}
    said = [line["event"] for service in (cache, api) for line in lines(service)]
    assert [event for event in said if event.startswith("the cache does not answer")]
    assert [event for event in said if event.startswith("the database does not answer")]
    for service in (cache, api):
        text = service.log.read_text()
        for secret in (account, password, KEY, token, CACHE_TOKEN):
            assert secret.removeprefix("polka_") not in text
