"""What a service shows at /metrics, as the tests read it."""

from prometheus_client.parser import text_string_to_metric_families

from services import client

Labels = frozenset[tuple[str, str]]


def samples(url: str) -> dict[tuple[str, Labels], float]:
    """Every sample by its name and labels."""
    page = client.get(f"{url}/metrics").raise_for_status().text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def value(url: str, name: str, **labels: str) -> float | None:
    """The value of one sample; None where it is not shown."""
    return samples(url).get((name, frozenset(labels.items())))


def names(url: str) -> set[str]:
    return {name for name, _ in samples(url)}
