"""Work in the background is done in order, and waiting for it has limits."""

from __future__ import annotations

import threading
import time

from harness.tracking.background import Background


def test_all_is_done_in_order() -> None:
    work, done = Background("test"), []
    for number in range(20):
        work.put(lambda number=number: done.append(number))  # type: ignore[misc]
    assert work.wait(5.0, 5.0)
    assert done == list(range(20))
    work.stop()


def test_a_hanging_action_is_waited_for_only_until_nothing_has_come_for_a_while() -> None:
    work, never = Background("test"), threading.Event()
    work.put(lambda: None)
    work.put(never.wait)
    started = time.monotonic()
    assert not work.wait(0.5, 60.0)
    assert 0.4 < time.monotonic() - started < 5.0
    started = time.monotonic()
    assert not work.wait(0.5, 60.0)  # the time of quiet is over
    assert time.monotonic() - started < 0.4
    never.set()
    work.stop()


def test_slow_actions_are_waited_for_only_so_long_in_all() -> None:
    work, done = Background("test"), []
    for number in range(100):
        work.put(lambda number=number: (time.sleep(0.1), done.append(number)))  # type: ignore[misc]
    started = time.monotonic()
    assert not work.wait(5.0, 1.0)
    assert time.monotonic() - started < 2.0
    work.stop()
    count = len(done)
    time.sleep(0.5)
    assert len(done) <= count + 1  # the one that was being done


def test_time_without_work_is_no_quiet() -> None:
    work = Background("test")
    time.sleep(0.5)
    work.put(lambda: time.sleep(0.1))
    assert work.wait(0.3, 5.0)
    work.stop()


def test_a_long_action_can_say_that_it_goes_on() -> None:
    work = Background("test")

    def long() -> None:
        for _ in range(10):
            time.sleep(0.1)
            work.advance()

    work.put(long)
    assert work.wait(0.5, 10.0)
    work.stop()


def test_a_failure_ends_it() -> None:
    work, done = Background("test"), []
    work.put(lambda: done.append(1))
    work.put(lambda: 1 / 0)
    work.put(lambda: done.append(2))
    assert work.wait(5.0, 5.0)
    work.put(lambda: done.append(3))
    assert work.wait(5.0, 5.0)
    assert done == [1]
    assert isinstance(work.error, ZeroDivisionError)
