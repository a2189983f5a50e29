"""Schemathesis against a running api: requests of every described kind, and many invalid requests.

    python tests/stands/fuzz.py --examples 500 --seed 1

There must be no server error and no undescribed answer, and invalid requests must be refused.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from polka.local.demo import free_layout
from polka.local.up import up
from polka.store import api_keys, database, seed

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CHECKS += ",negative_data_rejection,response_headers_conformance,unsupported_method"

CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "504"]

[checks.negative_data_rejection]
expected-statuses = ["207", "400", "401", "403", "404", "405", "413", "415", "422", "429", "5xx"]
"""
"""A request may have a timeout of a microsecond, and 504 is then the right answer. With `mode=each` a bulk request is
answered with 207, and bad items are refused one by one."""


NO_DRILLS = "--exclude-path=/drills"
"""A drill would kill the asked api."""


@dataclass(frozen=True)
class Fuzzed:
    """The number of cases, and the output."""

    cases: int
    is_good: bool
    said: str


def fuzz(url: str, key: str, examples: int, seed: int, *options: str) -> Fuzzed:
    """Send about `examples` examples of each operation, beside the systematic examples."""
    with tempfile.TemporaryDirectory(prefix="polka-fuzz-") as folder:
        config = Path(folder) / "schemathesis.toml"
        config.write_text(CONFIG)
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                f"--config-file={config}",
                "run",
                f"{url}/schema/openapi.json",
                f"--header=Authorization: Bearer {key}",
                f"--checks={CHECKS}",
                f"--max-examples={examples}",
                f"--seed={seed}",
                "--phases=examples,coverage,fuzzing",
                "--generation-database=none",
                "--max-failures=20",
                "--no-color",
                *options,
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "fuzz_forms", "PYTHONPATH": str(Path(__file__).parent)},
        )
    found = re.search(r"([\d,]+) generated", done.stdout)
    cases = int(found[1].replace(",", "")) if found else 0
    return Fuzzed(cases, done.returncode == 0, done.stdout + done.stderr)


async def fuzz_own(examples: int, chosen_seed: int) -> Fuzzed:
    """The same against a Polka of our own."""
    with tempfile.TemporaryDirectory(prefix="polka-fuzz-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with up(free_layout(1, folder, None), print) as running:
            await seed.seed(running.database_url, 3, 6)
            connection = await database.reach(running.database_url)
            key = await api_keys.create_operators(connection, "fuzz")
            await connection.close()
            return await asyncio.to_thread(fuzz, running.layout.url, key, examples, chosen_seed, NO_DRILLS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fuzzed = asyncio.run(fuzz_own(options.examples, options.seed))
    print(fuzzed.said)
    return 0 if fuzzed.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
