"""Reads the page of metrics as Prometheus does."""

from collections.abc import Collection

from prometheus_client.parser import text_string_to_metric_families

from retint import exposition
from retint.metrics import Kind
from retint.services import Services

Figures = dict[tuple[str, ...], float]
"""Values by the name of the sample and its labels, in the order of their names."""


def scrape(services: Services, kinds: Collection[Kind] = tuple(Kind)) -> Figures:
    """Read the metrics of these kinds."""
    with services.read() as session:
        text = exposition.render(session).decode()
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        if family.type in kinds
        for sample in family.samples
    }
