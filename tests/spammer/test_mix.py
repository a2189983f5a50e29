"""What goes with the payments of the spammer: a pure function of its words, and exact on a real Polka."""

import os
import re
import subprocess
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import run
from front_door import fetch
from proof import prove
from running import Running
from services import KEY
from spammer.mix import read_mix


@given(st.integers(1, 100), st.integers(0, 300), st.integers(0, 50), st.integers(0, 9))
def test_a_mix_keeps_its_shares(post: int, get: int, patch: int, delete: int) -> None:
    mix = read_mix(f"post={post},get={get},patch={patch},delete={delete}")
    counts: Counter[str] = Counter()
    for number in range(500):
        assert mix.following(1, number) == mix.following(1, number)
        counts.update(mix.following(1, number))
    for name, share in (("get", get), ("patch", patch), ("delete", delete)):
        expected = 500 * share / post
        assert abs(counts[name] - expected) <= 0.5 + 500**0.5 * 2.5


@pytest.mark.parametrize("text", ["", "post", "post=0", "get=5", "post=1,post=2", "post=1,put=2", "post=1.5"])
def test_a_mix_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is none of post|there must be payments"):
        read_mix(text)


def spam(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return run(["spam", f"--url={url}", "--max-workers=8", "--accounts=5", *words], os.environ | {"POLKA_KEY": KEY})


@pytest.mark.parametrize("bulk", [1, 20])
def test_a_mix_is_sent_as_it_says_and_the_audit_is_clean(polka: Running, key: str, bulk: int) -> None:
    words = ["--transactions=400", "--mix=post=50,delete=10,patch=15,get=25", f"--bulk={bulk}", "--progress=none"]
    counting = "SELECT count(*), count(*) FILTER (WHERE status = 'deleted') FROM transactions"
    ((before, deleted_before),) = fetch(polka.database_url, counting)
    done = spam(polka.url, *words)
    assert done.returncode == 0, done.stderr
    ((after, deleted),) = fetch(polka.database_url, counting)
    assert after - before == 400
    said = {name: int(count) for count, name in re.findall(r"^ +(\d+)  (\w+) accepted$", done.stderr, re.MULTILINE)}
    assert set(said) == {"delete", "patch", "get"}
    assert said["delete"] == deleted - deleted_before
    assert 40 <= said["delete"] <= 120
    assert 80 <= said["patch"] <= 160
    prove(polka.database_url, polka.cache.url)


def test_words_that_make_no_sense_are_told_in_one_line() -> None:
    for words, fact in ((["--mix=get=1"], "--mix"), (["--bulk=2", "--rate=5"], "--bulk")):
        done = spam("http://127.0.0.1:1", "--transactions=5", *words)
        assert done.returncode == 2
        assert fact in done.stderr
        assert "Traceback" not in done.stderr
