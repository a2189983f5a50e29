"""The metrics of a service, for tests."""

from prometheus_client.parser import text_string_to_metric_families

from services import client, wait_for

Labels = frozenset[tuple[str, str]]


def page(url: str) -> str:
    """The metrics from now on. A page may be older, and no two pages are the same, because of the used time."""
    first = read(url)
    return str(wait_for("the page is rendered again", lambda: (found := read(url)) != first and found))


def read(url: str) -> str:
    return client.get(f"{url}/metrics").raise_for_status().text


def samples(url: str) -> dict[tuple[str, Labels], float]:
    """Every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page(url))
        for sample in family.samples
    }


def value(url: str, name: str, **labels: str) -> float | None:
    """The value of a sample; None if the sample is missing."""
    return samples(url).get((name, frozenset(labels.items())))


def names(url: str) -> set[str]:
    return {name for name, _ in samples(url)}
