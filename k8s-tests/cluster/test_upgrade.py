"""Upgrades and rollbacks under load, of the image and of the schema: no request fails, and none is sent again."""

from pathlib import Path

import pytest

from cluster.commands import wait_for
from cluster.release import ROOT, TAG, Release, acknowledged
from polka.store.migrations import REVISION

pytestmark = pytest.mark.cluster

RATE = 150
NEWER = f"{int(REVISION) + 1:04d}"
MIGRATION = f'''"""A column that only a newer Polka knows."""

from alembic import op

revision = "{NEWER}"
down_revision = "{REVISION}"


def upgrade() -> None:
    op.execute("ALTER TABLE transactions ADD COLUMN note text")
'''


def load_same(polka: Release, folder: Path) -> str:
    """The same Polka under another tag."""
    (folder / "Dockerfile").write_text(f"FROM polka:{TAG}\nLABEL again=yes\n")
    polka.cluster.machines.load(f"polka:{TAG}-again", folder)
    return f"{TAG}-again"


def load_newer(polka: Release, folder: Path) -> str:
    """A Polka with one more migration, and the need for it."""
    versions = "/app/src/polka/store/migrations/versions"
    history = (ROOT / "src/polka/store/migrations/__init__.py").read_text()
    (folder / "migration.py").write_text(MIGRATION)
    (folder / "history.py").write_text(history.replace(f'REVISION = "{REVISION}"', f'REVISION = "{NEWER}"'))
    (folder / "Dockerfile").write_text(
        f"FROM polka:{TAG}\n"
        f"COPY migration.py {versions}/{NEWER}_note.py\n"
        "COPY history.py /app/src/polka/store/migrations/__init__.py\n"
    )
    polka.cluster.machines.load(f"polka:{TAG}-newer", folder)
    return f"{TAG}-newer"


def images(polka: Release) -> set[str]:
    """Of all api and cache pods, those that are on their way out among them."""
    pods = polka.get("pods", "--selector=app.kubernetes.io/component in (api, cache)")
    return {pod["spec"]["containers"][0]["image"] for pod in pods}


def test_upgrades_and_rollbacks_fail_no_request(polka: Release, tmp_path_factory: pytest.TempPathFactory) -> None:
    same = load_same(polka, tmp_path_factory.mktemp("same"))
    newer = load_newer(polka, tmp_path_factory.mktemp("newer"))
    job = polka.spam_apart("upgrades", maxWorkers=50, transactions=0, rate=RATE, retries=0)
    job.wait_until_sent(500)
    steps = [("upgrade", same), ("upgrade", newer), ("rollback", same)]
    for step, tag in steps:
        if step == "upgrade":
            polka.upgrade(image__tag=tag)
        else:
            polka.helm("rollback", "polka", "--wait", "--timeout=3m")
        wait_for(f"all pods run {tag}", lambda tag=tag: images(polka) == {f"polka:{tag}"})  # type: ignore[misc]
        print(f"{step} to {tag}: after {job.sent():,} payments")
    assert polka.sql("SELECT version_num FROM alembic_version") == NEWER
    log = job.stop()
    print(log[-700:])
    assert acknowledged(log) == job.sent() == job.stored()
    assert "The audit is clean." in polka.audit()
