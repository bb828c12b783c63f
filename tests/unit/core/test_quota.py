"""One bound on what waits to be sent: whatever the streams, their queues together stay within it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.core.quota import LEAST_MESSAGES, LEAST_READERS, MIB, MOST_READERS, divide, least_bytes

STREAMS = ("action", "masks", "health", "events", "control", "frames-tool", "frames-wrist", "results")


@given(
    st.dictionaries(st.sampled_from(STREAMS), st.integers(64, 30 * MIB), min_size=1),
    st.integers(1, 65_536),
)
def test_all_queues_together_stay_within_the_bound(sizes: dict[str, int], queue_mb: int) -> None:
    bound = max(queue_mb * MIB, least_bytes(sizes))
    quotas = divide(bound, sizes)
    assert quotas.keys() == sizes.keys()
    assert sum(quota.queue_bytes for quota in quotas.values()) <= bound
    for quota in quotas.values():
        assert LEAST_READERS <= quota.readers <= MOST_READERS
        assert quota.messages >= LEAST_MESSAGES


def test_actions_have_many_readers_with_long_queues_and_large_frames_few() -> None:
    small = {"action": 1024, "health": 16_384, "events": 16_384, "control": 16_384}
    quotas = divide(64 * MIB, small | {"frames-tool": 640 * 480 * 3})
    assert quotas["action"].readers == 64
    assert quotas["action"].messages > 256  # half a second at any rate
    assert divide(16 * MIB, small)["action"].readers == 32  # rather than shorter queues
    assert quotas["frames-tool"].readers == 3
    assert quotas["frames-tool"].messages >= 4
