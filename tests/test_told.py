"""What an export says while it works."""

import threading

from hfd_edge.export import told


def test_steps_are_told_to_whoever_listens_in_this_thread_and_to_nobody_else():
    heard, elsewhere = [], []
    told.say("before")
    with told.telling(heard.append):
        told.say("measuring")
        thread = threading.Thread(target=lambda: (told.say("of another thread"), elsewhere.append(True)))
        thread.start()
        thread.join()
        with told.telling(None):
            told.say("in quiet")
    told.say("after")
    assert heard == ["measuring"] and elsewhere


def test_what_is_counted_is_told_every_ten_seconds_and_not_at_its_end(monkeypatch):
    clock, heard = [0.0], []
    monkeypatch.setattr(told.time, "monotonic", lambda: clock[0])
    with told.telling(heard.append):
        counted = told.Counted(6)
        for seconds in (1, 9.9, 10, 19, 31, 50):
            clock[0] = seconds
            counted.step()
    assert heard == ["  3 of 6", "  5 of 6"]
