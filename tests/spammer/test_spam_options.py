"""The spammer's options: `polka spam` and the locustfile have the same ones, and reject a value with the same words."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import spammer
from commands import polka
from polka.command.spam import run_spam
from waiting import WAIT_SECONDS

LOCUSTFILE = Path(str(spammer.__file__)).with_name("locustfile.py")
OF_THE_COMMAND = {
    *("url", "max_workers", "processes", "key", "data", "worker_of"),
    *("web", "web_host", "web_port", "master"),
}
"""Of these Locust has its own, or none."""
TEXTS = [
    *("", "x", "-1", "0", "1", "2", "101", "1001", "1000001", "70000", "1000000000000001", "9" * 400),
    *("-0.5", "0.0", "0.5", "1.5", "nan", "inf", "1e300", "5m", "5"),
    *("line", "none", "post=1", "post=0", "put=1", "post=1,get=2", "USD", "USD,EUR", "USD,USD", "XXX", "Name: value"),
    *("0 USD", "1,000.00 USD, 5,000 JPY", "1 USD,2 EUR", "1 USD; 2 EUR", "12.505 USD", "a b", "a\nb"),
]
ASK_LOCUST = """
import json, sys
from locust.argument_parser import get_parser
from locust.util.load_locustfile import load_locustfile

def reject(message):
    raise ValueError(message)

def told(parser, field, word):
    try:
        return {"value": getattr(parser.parse_args([word]), field)}
    except ValueError as error:
        return {"fault": str(error).partition(": ")[2]}

of_locust = {action.dest for action in get_parser()._actions}
load_locustfile(sys.argv[1])
parser, texts = get_parser(), json.load(sys.stdin)
parser.error = reject
actions = [action for action in parser._actions if action.dest not in of_locust]
print(json.dumps({
    action.dest: {
        "flags": action.option_strings,
        "default": action.default,
        "help": action.help,
        "metavar": action.metavar,
        "told": {text: told(parser, action.dest, f"{action.option_strings[0]}={text}") for text in texts},
    }
    for action in actions
}))
"""


@pytest.fixture(scope="module")
def of_locustfile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """By name, the options that the locustfile adds to Locust's, and what it makes of each of the texts."""
    done = subprocess.run(
        [sys.executable, "-c", ASK_LOCUST, str(LOCUSTFILE)],
        cwd=tmp_path_factory.mktemp("empty"),
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def of_command() -> dict[str, click.Option]:
    options = {str(option.name): option for option in run_spam.params if isinstance(option, click.Option)}
    return {name: option for name, option in options.items() if name not in OF_THE_COMMAND}


def test_the_command_and_the_locustfile_have_the_same_options_and_defaults(of_locustfile: Any) -> None:
    assert of_locustfile == {
        name: {
            "flags": option.opts,
            "default": list(option.default) if isinstance(option.default, tuple) else option.default,
            "help": option.help,
            "metavar": option.metavar,
            "told": of_locustfile.get(name, {}).get("told"),
        }
        for name, option in of_command().items()
    }


def test_they_take_the_same_values_and_reject_all_others_with_the_same_words(of_locustfile: Any) -> None:
    for name, option in of_command().items():
        told = {text: told_by_command(option, text) for text in TEXTS}
        assert of_locustfile[name]["told"] == told
        assert any("value" in one for one in told.values()), name


def told_by_command(option: click.Option, text: str) -> dict[str, Any]:
    try:
        value = run_spam.make_context("spam", [f"{option.opts[0]}={text}"]).params[str(option.name)]
    except click.BadParameter as error:
        return {"fault": error.message}
    return {"value": list(value) if option.multiple else value}


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *(
            ("transactions", "-1"),
            ("banks", "-1"),
            ("accounts", "0"),
            ("across", "1.5"),
            ("across", "nan"),
            ("terms", "-1"),
        ),
        *(("cap", "-1"), ("cap", "5000"), ("cap", "10.005 USD"), ("cap", "1 USD, 2 USD"), ("cap", "1 USD 2 EUR")),
        *(("cap", "10,000,000,000,000.01 USD"), ("run_name", "a\nb"), ("run_name", "é"), ("run_name", "x" * 101)),
        *(("skew", "101"), ("skew", "nan"), ("mix", "put=1"), ("mix", "")),
        *(("bulk", "0"), ("bulk", "1001"), ("rate", "-0.5"), ("rate", "nan"), ("rate", "1000001"), ("retries", "-1")),
        *(
            ("wait", "5"),
            ("client_timeout", "0"),
            ("client_timeout", "inf"),
            ("connect_timeout", "nan"),
            ("pool", "-1"),
        ),
        *(("metrics_port", "-1"), ("metrics_port", "70000"), ("progress", "x"), ("currencies", "XXX"), ("seed", "0.5")),
    ],
)
def test_what_no_run_can_have_is_rejected(field: str, bad: str) -> None:
    assert "fault" in told_by_command(of_command()[field], bad)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--across=0.5"], "--across: needs two --currencies or more."),
        (["--terms=1", "--currencies=USD,GBP"], "--cap: has no amount in GBP."),
        (
            ["--bulk=2", "--rate=5"],
            "--bulk: cannot be used with --rate, because payments at a rate are due one by one.",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_clear_line_of_both(
    words: list[str], fault: str, tmp_path: Path
) -> None:
    locust = [*(sys.executable, "-m", "locust", "--loglevel=ERROR", "--headless", "--users=1"), *words]
    locust += [f"--locustfile={LOCUSTFILE}", "--host=http://127.0.0.1:1"]
    of_locust = subprocess.run(locust, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)
    of_command = polka("spam", "--url=http://127.0.0.1:1", *words)
    for done, code, said in ((of_command, 2, fault), (of_locust, 1, f"The run cannot start: {fault}")):
        assert done.returncode == code
        assert done.stderr.splitlines()[-1] == f"Error: {said}"
