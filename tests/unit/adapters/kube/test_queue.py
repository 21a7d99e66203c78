from __future__ import annotations

from threading import Thread

from strandline.adapters.kube.queue import RetryPolicy, TokenBucket, WorkQueue
from strandline.testing.fake_clock import FakeClock


def longest(low: float, high: float) -> float:
    return high


def queue_of(clock: FakeClock, **retry: float) -> WorkQueue[str]:
    policy = RetryPolicy(
        first_seconds=retry.get("first", 1.0),
        longest_seconds=retry.get("longest", 60.0),
        rate=retry.get("rate", 1000.0),
        burst=int(retry.get("burst", 1000)),
    )
    return WorkQueue("test", clock, retry=policy, uniform=longest)


def test_many_asks_for_a_key_are_one_look() -> None:
    queue = queue_of(FakeClock())
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    assert [queue.get(0), queue.get(0), queue.get(0)] == ["a", "b", None]


def test_a_key_is_at_one_worker_only_and_comes_again_when_it_was_added_meanwhile() -> None:
    queue = queue_of(FakeClock())
    queue.add("a")
    assert queue.get(0) == "a"
    queue.add("a")
    assert queue.get(0) is None
    queue.done("a")
    assert queue.get(0) == "a"
    queue.done("a")
    assert queue.get(0) is None


def test_a_later_look_comes_when_its_time_has_come() -> None:
    clock = FakeClock()
    queue = queue_of(clock)
    queue.add_after("a", 10.0)
    clock.advance(9.9)
    assert queue.get(0) is None
    clock.advance(0.1)
    assert queue.get(0) == "a"


def test_of_several_later_looks_the_earliest_counts_and_is_the_only_one() -> None:
    clock = FakeClock()
    queue = queue_of(clock)
    queue.add_after("a", 30.0)
    queue.add_after("a", 10.0)
    queue.add_after("a", 20.0)
    clock.advance(10.0)
    assert queue.get(0) == "a"
    queue.done("a")
    clock.advance(100.0)
    assert queue.get(0) is None


def test_overtaken_later_looks_do_not_pile_up() -> None:
    clock = FakeClock()
    queue = queue_of(clock)
    for _ in range(5_000):
        queue.add_after("a", 3_000.0)
        queue.add_after("a", 1.0)
        clock.advance(1.0)
        assert queue.get(0) == "a"
        queue.done("a")
    assert len(queue._later) < 300


def test_failures_wait_twice_as_long_each_time_up_to_a_bound_until_forgotten() -> None:
    clock = FakeClock()
    queue = queue_of(clock, first=1.0, longest=5.0)
    waits = []
    for _ in range(5):
        waits.append(queue.add_failed("a"))
        clock.advance(waits[-1])
        assert queue.get(0) == "a"
        queue.done("a")
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert queue.failures("a") == 5
    queue.forget("a")
    assert queue.add_failed("a") == 1.0


def test_a_key_that_fails_for_ever_overflows_nothing() -> None:
    assert RetryPolicy().ceiling_seconds(10_000) == RetryPolicy().longest_seconds


def test_waits_are_jittered_over_the_whole_range() -> None:
    asked = []

    def note(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    queue = WorkQueue[str]("test", FakeClock(), uniform=note)
    assert queue.add_failed("a") == 0.0
    assert asked == [(0.0, RetryPolicy().first_seconds)]


def test_failures_of_all_keys_together_are_bounded_in_rate() -> None:
    clock = FakeClock()
    queue = queue_of(clock, first=0.0, rate=2.0, burst=3)
    waits = [queue.add_failed(str(number)) for number in range(6)]
    assert waits == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]
    clock.advance(1.5)
    assert sum(queue.get(0) is not None for _ in range(7)) == 6


def test_a_bucket_fills_up_to_its_burst_and_no_further() -> None:
    clock = FakeClock()
    bucket = TokenBucket(1.0, 2, clock)
    clock.advance(100.0)
    assert [bucket.try_take() for _ in range(3)] == [True, True, False]
    assert bucket.wait_seconds() == 1.0


def test_a_shut_queue_hands_out_nothing_and_wakes_who_waits() -> None:
    queue = queue_of(FakeClock())
    got: list[str | None] = []
    waiting = Thread(target=lambda: got.append(queue.get()))
    waiting.start()
    queue.shut()
    waiting.join(10)
    queue.add("a")
    assert got == [None]
    assert queue.get(0) is None
    assert queue.wait_idle(0)


def test_workers_share_keys_without_losing_or_doubling_one() -> None:
    from strandline.adapters.clock import SystemClock

    queue = WorkQueue[int]("test", SystemClock())
    held: set[int] = set()
    looks: dict[int, int] = {}
    overlaps = []

    def work() -> None:
        while (key := queue.get()) is not None:
            if key in held:
                overlaps.append(key)
            held.add(key)
            looks[key] = looks.get(key, 0) + 1
            held.discard(key)
            queue.done(key)

    workers = [Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for turn in range(20):
        for key in range(50):
            (queue.add if turn % 2 else lambda k: queue.add_after(k, 0.001))(key)
    while len(looks) < 50 or len(queue) or queue._due:
        assert queue.wait_idle(10)
    queue.shut()
    for each in workers:
        each.join(10)
    assert overlaps == []
    assert set(looks) == set(range(50))
