"""Times under which two could lead at once are refused before anything runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.kube.lease import Times


def test_a_lease_shorter_than_its_holder_may_act_is_refused() -> None:
    with pytest.raises(ValueError, match="two could lead at once"):
        Times(duration=15, renew_within=10, call=2, retry=1)


@given(st.floats(min_value=0.5, max_value=3600))
def test_every_duration_a_person_sets_keeps_the_safe_proportions(duration: float) -> None:
    times = Times.of(duration)
    assert times.duration == duration
    assert times.renew_within > 2 * times.retry
