"""Exceptions of calls without a result."""

from polka.rules.messages import Overdraft
from polka.rules.problem import ItemRefused, Problem


class ClientError(Exception):
    """A call has brought no result. `idempotency_key` is the key of its request, if the request had one."""

    def __init__(self, message: str, idempotency_key: str | None = None) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


class ProblemError(ClientError):
    """Polka has rejected the request with a problem document (RFC 9457). Nothing was recorded.

    `code` keeps its meaning in all versions of Polka. `detail` is for people.
    """

    def __init__(self, problem: Problem, idempotency_key: str | None = None) -> None:
        super().__init__(f"{problem.detail} ({problem.status} {problem.code})", idempotency_key)
        self.problem = problem

    @property
    def type(self) -> str:
        return self.problem.type

    @property
    def title(self) -> str:
        return self.problem.title

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def detail(self) -> str:
        return self.problem.detail

    @property
    def field(self) -> str | None:
        return self.problem.field

    @property
    def items(self) -> list[ItemRefused] | None:
        """The rejected items of a bulk request."""
        return self.problem.items

    @property
    def overdraft(self) -> Overdraft | None:
        """The cap that a payment would have exceeded, if the caller may see the figures."""
        return self.problem.overdraft


class UnavailableError(ClientError):
    """Polka has not answered. A writing request was not sent, or recorded nothing."""


class NotPolkaError(ClientError):
    """The answer is not Polka's: another program listens at this address."""


class OutcomeUnknownError(ClientError):
    """The request may or may not be done.

    Send the same request again with `idempotency_key`: the request is done once. A request without a key is not
    repeated by Polka's client. Look first, then decide.
    """
