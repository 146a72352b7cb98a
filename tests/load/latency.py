"""Latencies of many calls in an HDR histogram: every percentile, to three digits, in little memory."""

import io
from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

_LONGEST_US = 3_600_000_000
_DIGITS = 3


class Latency:
    """Seconds are recorded, milliseconds read."""

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._histogram = HdrHistogram(1, _LONGEST_US, _DIGITS)
        for value in seconds:
            self._histogram.record_value(min(_LONGEST_US, max(1, round(value * 1e6))))

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    @property
    def longest_ms(self) -> float:
        return float(self._histogram.get_max_value()) / 1000

    def percentile_ms(self, percent: float) -> float:
        """So many of a hundred calls took no longer."""
        return float(self._histogram.get_value_at_percentile(percent)) / 1000

    def percentiles(self) -> list[tuple[float, float]]:
        """Percent and milliseconds, finer and finer towards 100."""
        return [
            (step.percentile_level_iterated_to, step.value_iterated_to / 1000)
            for step in self._histogram.get_percentile_iterator(5)
        ]

    def hgrm(self) -> str:
        """The whole distribution as HdrHistogram's plotter reads it, in milliseconds."""
        text = io.BytesIO()
        self._histogram.output_percentile_distribution(text, 1000)
        return text.getvalue().decode()

    def encode(self) -> str:
        """For `decode`, in another process."""
        return self._histogram.encode().decode()

    @classmethod
    def decode(cls, text: str) -> "Latency":
        latency = cls()
        latency._histogram.decode_and_add(text)
        return latency

    @classmethod
    def merged(cls, latencies: Iterable["Latency"]) -> "Latency":
        """The calls of them all."""
        whole = cls()
        for latency in latencies:
            whole._histogram.add(latency._histogram)
        return whole
