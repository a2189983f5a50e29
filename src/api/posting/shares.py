"""A queue that banks share. Each bank has its turn (deficit round robin), so a flood of one bank delays no other.
Pure."""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """A queued item. It belongs to a bank and counts as `size` payments."""

    @property
    def bank(self) -> str: ...

    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=Waiting)


class Share(Generic[T]):
    """The queued items of a bank. `credit` is the number of payments that the bank may still send in its turn."""

    __slots__ = ("credit", "payments", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[T] = deque()
        self.payments = 0
        self.credit = 0


class Shares(Generic[T]):
    """The queued items by bank. The order within a bank is kept.

    While all items fit into one batch, no bank waits for another. Then nothing is sorted, and an arrival costs as much
    as in a plain queue. Each arrival is sorted at most once.
    """

    def __init__(self, batch_size_max: int, payments_max: int) -> None:
        self.payments = 0
        self._batch_size_max = batch_size_max
        self._payments_max = payments_max
        self._arrived: deque[T] = deque()  # unsorted, and later than all sorted items
        self._shares: OrderedDict[str, Share[T]] = OrderedDict()  # in the order of their turns

    def has_room(self, bank: str, size: int) -> bool:
        """Whether `size` more payments of the bank may wait. An empty queue accepts any number.

        The bank's queued payments plus all queued payments are at most `2 * payments_max`. A single bank may fill
        `payments_max`, and each of n banks 2/(n + 1) of it, so another bank always finds room. In all fewer than `2 *
        payments_max` payments wait.
        """
        if not self.payments or self.payments + size <= self._payments_max:
            return True
        self._sort()
        share = self._shares.get(bank)
        own = share.payments if share else 0
        return own + self.payments + 2 * size <= 2 * self._payments_max

    def put(self, one: T) -> None:
        self._arrived.append(one)
        self.payments += one.size

    def put_back(self, taken: Iterable[T]) -> None:
        """Put these items ahead of all others of their banks, in their order."""
        self._sort()
        for one in reversed(list(taken)):
            share = self._share_of(one.bank)
            share.waiting.appendleft(one)
            share.payments += one.size
            self.payments += one.size

    def take(self) -> list[T]:
        """The next batch: all items if they fit, otherwise the items that banks may send in their turns.

        The batch has at least one item, however large. A turn that fills the batch continues in the next batch.
        """
        if self.payments <= self._batch_size_max:
            return self._take_all()
        self._sort()
        taken: list[T] = []
        room = self._batch_size_max
        quantum = max(1, room // len(self._shares))
        while self._shares:
            bank, share = next(iter(self._shares.items()))
            share.credit += quantum
            while share.waiting and share.waiting[0].size <= share.credit:
                size = share.waiting[0].size
                if size > room and taken:
                    share.credit -= quantum
                    return taken
                taken.append(share.waiting.popleft())
                room -= size
                share.credit -= size
                share.payments -= size
                self.payments -= size
            if share.waiting:
                self._shares.move_to_end(bank)
            else:
                del self._shares[bank]
        return taken

    def _take_all(self) -> list[T]:
        taken = [one for share in self._shares.values() for one in share.waiting]
        taken += self._arrived
        self._shares.clear()
        self._arrived.clear()
        self.payments = 0
        return taken

    def _sort(self) -> None:
        while self._arrived:
            one = self._arrived.popleft()
            share = self._share_of(one.bank)
            share.waiting.append(one)
            share.payments += one.size

    def _share_of(self, bank: str) -> Share[T]:
        share = self._shares.get(bank)
        if share is None:
            share = self._shares[bank] = Share()
        return share
