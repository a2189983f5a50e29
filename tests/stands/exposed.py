"""What a service shows at /metrics, as the tests read it."""

from prometheus_client.parser import text_string_to_metric_families

from services import client, wait_for

Labels = frozenset[tuple[str, str]]


def page(url: str) -> str:
    """What is shown from now on. A page is rendered once a second, and no two are the same: each has the time used."""
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
    """The value of one sample; None where it is not shown."""
    return samples(url).get((name, frozenset(labels.items())))


def names(url: str) -> set[str]:
    return {name for name, _ in samples(url)}
