"""What clearing saves, against definitions that are taken bank by bank and pair by pair."""

from itertools import combinations, permutations

from hypothesis import given
from hypothesis import strategies as st

from committed import Entries
from polka.rules.netting import Flows, Netting, movements

BANKS = ["bank1", "bank2", "bank3", "bank4"]
PAIRS = list(permutations(BANKS, 2))
flows = st.lists(st.builds(lambda pair, amount: (*pair, amount), st.sampled_from(PAIRS), st.integers(1, 10**15)))
Flow = tuple[str, str, int]


def netting(flows: list[Flow]) -> Netting:
    taken = Flows()
    for flow in flows:
        taken.add(*flow)
    return taken.netting("USD")


def paid(flows: list[Flow], payer: str, payee: str) -> int:
    return sum(amount for one, other, amount in flows if (one, other) == (payer, payee))


@given(flows)
def test_the_figures_are_what_each_bank_and_each_pair_would_pay(flows: list[Flow]) -> None:
    found = netting(flows)
    assert found.gross == sum(paid(flows, *pair) for pair in permutations(BANKS, 2))
    assert found.bilateral == sum(
        abs(paid(flows, one, other) - paid(flows, other, one)) for one, other in combinations(BANKS, 2)
    )
    nets = [sum(paid(flows, other, bank) - paid(flows, bank, other) for other in BANKS) for bank in BANKS]
    assert found.multilateral == -sum(net for net in nets if net < 0)
    assert found.saving == found.gross - found.multilateral
    assert found.gross >= found.bilateral >= found.multilateral >= 0


@given(flows)
def test_the_order_of_payments_is_nothing_to_the_figures(flows: list[Flow]) -> None:
    assert netting(flows) == netting(sorted(flows))


@given(flows)
def test_they_are_forgotten_bank_by_bank(flows: list[Flow]) -> None:
    taken = Flows()
    for flow in flows:
        taken.add(*flow)
    steps = 0
    while taken.forget_bank():
        steps += 1
    assert steps == len({min(flow[:2]) for flow in flows})


@given(flows)
def test_between_two_banks_both_kinds_of_netting_are_one(flows: list[Flow]) -> None:
    two = [flow for flow in flows if {*flow[:2]} == {"bank1", "bank2"}]
    assert netting(two).bilateral == netting(two).multilateral


@given(flows)
def test_what_is_all_reversed_leaves_nothing_to_settle(flows: list[Flow]) -> None:
    found = netting(flows + [(payee, payer, amount) for payer, payee, amount in flows])
    assert (found.bilateral, found.multilateral) == (0, 0)


def test_a_ring_of_payments_shows_what_clearing_is_for() -> None:
    ring = [("bank1", "bank2", 100), ("bank2", "bank3", 100), ("bank3", "bank1", 90)]
    assert netting(ring) == Netting("USD", gross=290, bilateral=290, multilateral=10, saving=280)


def test_movements_are_payments_between_banks_and_their_reversals() -> None:
    entries: Entries = [
        *(("bank1", "A1", "USD", -5), ("bank2", "B1", "USD", 5)),
        *(("bank1", "A1", "EUR", 7), ("bank2", "B1", "EUR", -7)),
        *(("bank3", "A1", "USD", -9), ("bank3", "B1", "USD", 9)),
    ]
    assert list(movements(entries)) == [("bank1", "bank2", "USD", 5), ("bank2", "bank1", "EUR", 7)]
