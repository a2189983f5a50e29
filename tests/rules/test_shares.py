"""The queue that banks share, as a pure structure: order, counts, bounds, and what each bank gets of a batch."""

from collections import Counter
from dataclasses import dataclass
from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from api.posting.shares import Shares

BATCH, ROOM = 8, 40
BANKS = st.sampled_from(["a", "b", "c", "d", "e"])
SIZES = st.one_of(st.just(1), st.integers(1, 3 * BATCH))


@dataclass(frozen=True)
class One:
    bank: str
    size: int = 1
    number: int = 0


class SharesMachine(RuleBasedStateMachine):
    """Against a plain list for each bank, from which every operation must come in its order."""

    @initialize()
    def begin(self) -> None:
        self.shares: Shares[One] = Shares(BATCH, ROOM)
        self.waiting: dict[str, list[One]] = {}
        self.taken: list[One] = []
        self.numbers = count()

    @rule(bank=BANKS, size=SIZES)
    def arrive(self, bank: str, size: int) -> None:
        one = One(bank, size, next(self.numbers))
        own = sum(other.size for other in self.waiting.get(bank, []))
        in_all = self.in_all()
        has_room = self.shares.has_room(bank, size)
        assert has_room == (not in_all or in_all + size <= ROOM or own + in_all + 2 * size <= 2 * ROOM)
        if has_room:
            self.shares.put(one)
            self.waiting.setdefault(bank, []).append(one)

    @rule()
    def take(self) -> None:
        before = self.in_all()
        self.taken = self.shares.take()
        assert bool(self.taken) == bool(before)
        assert len(self.taken) <= 1 or sum(one.size for one in self.taken) <= BATCH
        for one in self.taken:
            assert self.waiting[one.bank].pop(0) == one

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        """All that was taken, or what was not answered meanwhile."""
        back = [one for one in self.taken if data.draw(st.booleans())]
        self.shares.put_back(back)
        for one in reversed(back):
            self.waiting[one.bank].insert(0, one)
        self.taken = []

    @invariant()
    def all_are_counted(self) -> None:
        assert self.shares.payments == self.in_all()

    def in_all(self) -> int:
        return sum(one.size for waiting in self.waiting.values() for one in waiting)

    def teardown(self) -> None:
        """Nothing is lost."""
        while any(self.waiting.values()):
            self.take()
        assert self.shares.payments == 0


TestShares = SharesMachine.TestCase


@given(st.lists(SIZES, min_size=1, max_size=6), st.integers(1, 200))
def test_banks_that_always_wait_get_as_much_as_each_other(sizes: list[int], batches: int) -> None:
    """Each has operations of another size. They differ by no more than one operation and one turn."""
    shares: Shares[One] = Shares(BATCH, 10**9)
    banks = {str(number): size for number, size in enumerate(sizes)}
    for bank, size in banks.items():
        for _ in range(4 * BATCH // size + 2):
            shares.put(One(bank, size))
    got: Counter[str] = Counter(dict.fromkeys(banks, 0))
    for _ in range(batches):
        for one in shares.take():
            got[one.bank] += one.size
            shares.put(one)
    turn = max(1, BATCH // len(banks))
    assert max(got.values()) - min(got.values()) <= 2 * (max(sizes) + turn)


@given(st.integers(1, 3 * BATCH), st.integers(1, BATCH // 2), st.integers(1, 20))
def test_a_payment_waits_for_no_more_than_one_batch_of_a_flood(size: int, own: int, floods: int) -> None:
    """However much another bank has waiting before it, and in operations of whichever size."""
    shares: Shares[One] = Shares(BATCH, 10**9)
    for _ in range(floods):
        shares.put(One("flood", size))
    paid = [One("small", 1, number) for number in range(own)]
    for one in paid:
        shares.put(one)
    first, second = shares.take(), shares.take()
    assert [one for one in first + second if one.bank == "small"] == paid


@given(st.integers(1, 8), st.integers(1, 12))
def test_floods_of_several_banks_leave_room_for_another(banks: int, tries: int) -> None:
    """One bank alone fills what one may have. Several have less each, and one that has nothing waiting finds room."""
    shares: Shares[One] = Shares(BATCH, ROOM)
    waiting: Counter[str] = Counter()
    for number in range(tries * ROOM * banks):
        bank = str(number % banks)
        if shares.has_room(bank, 1):
            shares.put(One(bank))
            waiting[bank] += 1
    assert shares.payments < 2 * ROOM
    each = 2 * ROOM / (banks + 1)
    assert all(each - 2 <= waits <= each + 2 for waits in waiting.values())
    assert shares.has_room("another", int(each / 2) - 1)


def test_within_one_batch_nobody_is_sorted_and_the_order_stays() -> None:
    shares: Shares[One] = Shares(BATCH, ROOM)
    arrived = [One("ab"[number % 2], 1, number) for number in range(BATCH)]
    for one in arrived:
        assert shares.has_room(one.bank, one.size)
        shares.put(one)
    assert shares.take() == arrived
    assert shares.take() == []
