"""The parts of queries: series of the chosen Polka, their rates, quantiles of their histograms."""

OURS = 'namespace=~"$namespace", release=~"$release"'
"""The choice of the variables. *All* includes series without both labels, as from a Polka on one machine."""
SERVICES = 'job=~"polka-(api|cache)"'
"""A further condition for metrics that other programs have too."""
RANGE = "$__rate_interval"


def series(metric: str, where: str = "") -> str:
    return f"{metric}{{{', '.join(filter(None, (OURS, where)))}}}"


def rate(counter: str, where: str = "") -> str:
    """A second."""
    return f"rate({series(counter, where)}[{RANGE}])"


def mean(histogram: str, by: str = "", where: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} ({rate(f'{histogram}_sum', where)}) / sum{grouped} ({rate(f'{histogram}_count', where)})"


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """No number without observations, and so no line."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, sum by ({labels}) ({rate(f'{histogram}_bucket', where)})) >= 0"


def quantiles(histogram: str, where: str = "") -> list[tuple[str, str]]:
    """Half, most, and all but a few."""
    return [
        (quantile(share, histogram, where=where), name) for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]
