"""What a process has noted of late."""

from accounts import noted
from accounts.noted import Noted


def test_each_is_due_once_in_a_while():
    seen = Noted(60)
    assert [seen.is_due("a"), seen.is_due("a"), seen.is_due("b")] == [True, False, True]
    seen["a"] -= 60
    assert seen.is_due("a")


def test_it_does_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(noted, "REMEMBERED", 3)
    seen = Noted(60)
    assert all(seen.is_due(number) for number in range(10))
    assert len(seen) <= 3
