"""Limits of the chat socket: its opening, how many are open, and each frame."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from redis.exceptions import MaxConnectionsError, TimeoutError

from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from ratelimit import sockets
from ratelimit.batches import Batches
from ratelimit.caller import Member
from ratelimit.limiter import Charge, limiter
from ratelimit.models import Exemption
from ratelimit.rules import Algorithm, Rule
from ratelimit.sockets import Leases, SocketLimits
from realtime import consumer, errors, frames
from realtime.authentication import limits_of
from realtime.models import Message

from .limits import FIRST, counted, key_of, look_again
from .sockets import WAIT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("async_redis")]

BUCKET = {"subject": "frame", "identity": "user", "algorithm": Algorithm.TOKEN_BUCKET}
HELD = {"subject": "connect", "identity": "user", "algorithm": Algorithm.CONCURRENCY}


@pytest.fixture
def policy_of(make_policy):
    return sync_to_async(make_policy)


async def held(policy, user):
    return await sync_to_async(lambda: redis_client(Role.STATE).zcard(key_of(policy, "user", str(user.pk))))()


async def stored_messages(count):
    return await sync_to_async(Message.objects.count)() == count


def batches_sent(monkeypatch):
    """How many questions each round trip has from now on."""
    sent = []
    whole = limiter.ask_all

    async def ask_all(questions):
        sent.append(len(questions))
        return await whole(questions)

    monkeypatch.setattr(limiter, "ask_all", ask_all)
    return sent


async def until(condition):
    async with asyncio.timeout(WAIT):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_a_message_over_the_limit_gets_an_error_with_its_id_and_the_wait(policy_of, people, open_socket, hub):
    alice, _, room = people
    policy = await policy_of("message.send", frames="message.send", limit="1/min", burst=2, **BUCKET)
    before = await sync_to_async(counted)(policy, "refused")
    socket = await open_socket(alice)
    await socket.hello()
    for number in range(3):
        await socket.say(room, f"hello {number}", f"id-{number}")
    error = await socket.frame("error")
    assert error["id"] == "id-2"
    assert error["code"] == "limited"
    assert 58 < error["retry_after"] <= 60
    await until(lambda: stored_messages(2))
    assert await sync_to_async(counted)(policy, "refused") == before + 1
    await socket.disconnect()


async def test_two_sockets_of_a_person_share_the_limit_and_others_have_their_own(policy_of, people, open_socket, hub):
    alice, bob, room = people
    await policy_of("message.send", frames="message.send", limit="1/min", burst=1, **BUCKET)
    first, second, other = await open_socket(alice), await open_socket(alice), await open_socket(bob)
    for socket in (first, second, other):
        await socket.hello()
    await first.say(room, "one", "a")
    assert (await first.frame("message.ack"))["id"] == "a"
    await second.say(room, "two", "b")
    assert (await second.frame("error"))["id"] == "b"
    await other.say(room, "three", "c")
    assert (await other.frame("message.ack"))["id"] == "c"
    for socket in (first, second, other):
        await socket.disconnect()


async def test_frames_that_no_policy_counts_ask_nobody(policy_of, people, open_socket, hub, monkeypatch):
    await policy_of("message.send", frames="message.send", limit="1/min", burst=1, **BUCKET)
    socket = await open_socket(people[0])
    await socket.hello()
    monkeypatch.setattr(Batches, "hit", None)
    await socket.send_json_to({"type": "ping"})
    await socket.frame("pong")
    await socket.disconnect()


async def test_unknown_frames_have_a_limit_of_their_own(policy_of, people, open_socket, hub):
    await policy_of("unknown", frames="unknown", limit="1/min", burst=2, **BUCKET)
    socket = await open_socket(people[0])
    await socket.hello()
    for text in ('{"type": "nonsense", "id": "n"}', "not json", '{"type": "nonsense", "id": "m"}'):
        await socket.send_to(text_data=text)
    codes = [(await socket.frame("error"))["code"] for _ in range(3)]
    assert codes == ["unknown_type", "bad_json", "limited"]
    await socket.disconnect()


async def test_who_goes_on_in_spite_of_the_answers_is_closed(policy_of, people, open_socket, hub):
    alice, _, room = people
    await policy_of("message.send", frames="message.send", limit="1/hour", burst=1, **BUCKET)
    socket = await open_socket(alice)
    await socket.hello()
    for number in range(consumer.REFUSED_FRAMES + 2):
        await socket.say(room, "again", f"id-{number}")
    assert await socket.closed_with() == errors.FLOOD
    await until(lambda: stored_messages(1))


async def test_opening_too_often_is_told_before_the_close(policy_of, people, open_socket, hub):
    await policy_of("connect", subject="connect", identity="user", limit="1/min")
    first, second = await open_socket(people[0]), await open_socket(people[0])
    await first.hello()
    assert (await second.connect(timeout=WAIT))[0]
    error = await second.frame("error")
    assert error["code"] == "limited"
    assert 0 < error["retry_after"] <= 120
    assert await second.closed_with() == errors.LIMITED
    await first.disconnect()


async def test_so_many_sockets_at_the_same_time_and_each_is_free_again_when_closed(policy_of, people, open_socket, hub):
    alice = people[0]
    policy = await policy_of("sockets", limit="2", **HELD)
    first, second, third = [await open_socket(alice) for _ in range(3)]
    await first.hello()
    await second.hello()
    assert (await third.connect(timeout=WAIT))[0]
    assert await third.closed_with() == errors.LIMITED
    assert await held(policy, alice) == 2
    await first.disconnect()

    async def one_is_left():
        return await held(policy, alice) == 1

    await until(one_is_left)
    fourth = await open_socket(alice)
    await fourth.hello()
    for socket in (second, fourth):
        await socket.disconnect()


async def test_what_is_held_is_renewed(policy_of, alice, monkeypatch):
    monkeypatch.setattr(sockets, "RENEW_SECONDS", 0.05)
    policy = await policy_of("sockets", limit="2", **HELD)
    limits = SocketLimits(Member(alice.pk))
    assert (await limits.open()).admitted
    key = key_of(policy, "user", str(alice.pk))

    async def end():
        [(_, score)] = await sync_to_async(redis_client(Role.STATE).zrange)(key, 0, -1, withscores=True)
        return score

    first = await end()

    async def is_later():
        return await end() > first

    await until(is_later)
    await limits.close()
    assert await held(policy, alice) == 0
    async with asyncio.timeout(WAIT):
        while Leases.here()._renewing is not None:
            await asyncio.sleep(0.01)


async def test_what_redis_forgot_is_held_again(policy_of, alice, monkeypatch):
    monkeypatch.setattr(sockets, "RENEW_SECONDS", 0.05)
    policy = await policy_of("sockets", limit="2", **HELD)
    limits = SocketLimits(Member(alice.pk))
    await limits.open()
    await sync_to_async(redis_client(Role.STATE).flushdb)()

    async def is_there():
        return await held(policy, alice) == 1

    await until(is_there)
    await limits.close()


async def test_a_fault_with_one_socket_does_not_end_what_others_hold(policy_of, alice, monkeypatch, caplog):
    monkeypatch.setattr(sockets, "RENEW_SECONDS", 0.05)
    policy = await policy_of("sockets", limit="2", **HELD)
    faulty, sound = SocketLimits(Member(None)), SocketLimits(Member(alice.pk))
    monkeypatch.setattr(faulty, "holding", None)  # any fault at all
    Leases.here().hold(faulty)
    await sound.open()
    await sync_to_async(redis_client(Role.STATE).flushdb)()

    async def is_there():
        return await held(policy, alice) == 1

    await until(is_there)
    assert "could not be held" in caplog.text
    Leases.here()._open.discard(faulty)
    await sound.close()


async def test_a_policy_for_api_keys_counts_those_who_open_sockets_with_one(policy_of):
    await policy_of("keys", subject="connect", identity="api_key", limit="1/min", algorithm=1)
    scope = {"path": "/ws/", "client": (FIRST, 1), "headers": [(b"x-api-key", b"of a program")]}
    said = [await limits_of(scope, None).open() for _ in range(2)]
    assert [outcome.admitted for outcome in said] == [True, False]
    assert (await limits_of({**scope, "headers": []}, None).open()).admitted


@pytest.mark.parametrize(("without", "admitted"), [("open", True), ("closed", False)])
async def test_without_redis_the_policy_says_whether_frames_pass(policy_of, alice, redis_server, without, admitted):
    await policy_of("messages", frames="message.send", limit="9/min", without_redis=without, **BUCKET)
    limits = SocketLimits(Member(alice.pk))
    assert (await limits.frame("message.send")).admitted
    redis_server.kill()
    outcome = await limits.frame("message.send")
    assert outcome.admitted is admitted
    error = json.loads(frames.limited(outcome, "words", "id-1"))
    assert (error["id"], error["retry_after"]) == ("id-1", 1.0)
    assert "can't be told just now" in error["detail"]


async def test_a_person_who_is_allowed_everything_sends_on(policy_of, people, open_socket, hub):
    alice, _, room = people
    await policy_of("message.send", frames="message.send", limit="1/hour", burst=1, **BUCKET)
    await sync_to_async(Exemption.objects.create)(treatment="allow", user=alice)
    look_again()
    socket = await open_socket(alice)
    await socket.hello()
    for number in range(3):
        await socket.say(room, "hello", f"id-{number}")
        await socket.frame("message.ack")
    await socket.disconnect()


async def test_a_person_who_is_shut_out_opens_nothing(policy_of, people, open_socket, hub):
    await policy_of("other")
    await sync_to_async(Exemption.objects.create)(treatment="deny", user=people[0])
    look_again()
    socket = await open_socket(people[0])
    assert (await socket.connect(timeout=WAIT))[0]
    error = await socket.frame("error")
    assert "retry_after" not in error
    assert await socket.closed_with() == errors.LIMITED


async def test_messages_of_one_socket_are_asked_about_together_and_keep_their_order(
    policy_of, people, open_socket, hub, monkeypatch
):
    alice, _, room = people
    await policy_of("message.send", frames="message.send", limit="100/s", burst=100, **BUCKET)
    socket = await open_socket(alice)
    await socket.hello()
    sent = batches_sent(monkeypatch)
    for number in range(30):
        await socket.say(room, f"message {number}", f"id-{number}")
    acks = [(await socket.frame("message.ack")) for _ in range(30)]
    assert [(ack["id"], ack["number"]) for ack in acks] == [(f"id-{n}", n + 1) for n in range(30)]
    assert len(sent) < 30
    await socket.disconnect()


async def test_a_frame_that_needs_no_answer_does_not_overtake_one_that_does(policy_of, alice, monkeypatch):
    await policy_of("some", frames="some", limit="100/s", burst=100, **BUCKET)
    limits, order = SocketLimits(Member(alice.pk)), []
    for number, kind in enumerate(["free", "some", "free", "some", "free"]):
        await limits.ask(kind, lambda outcome, number=number: order.append(number))
    async with asyncio.timeout(WAIT):
        while len(order) < 5:
            await asyncio.sleep(0)
    assert order == [0, 1, 2, 3, 4]


async def test_a_person_who_becomes_an_administrator_is_one_at_the_next_frame(policy_of, alice):
    await policy_of("people", frames="x", tier="authenticated", limit="1/hour", burst=1, **BUCKET)
    limits = SocketLimits(Member(alice.pk))
    assert [(await limits.frame("x")).admitted for _ in range(2)] == [True, False]

    def promote():
        alice.is_staff = True
        alice.save()

    await sync_to_async(promote)()

    async def is_admitted():
        return (await limits.frame("x")).admitted

    await until(is_admitted)


async def test_visitors_who_knock_too_often_are_told(policy_of, open_socket, hub):
    await policy_of("connect", subject="connect", identity="user_or_address", limit="2/min", algorithm=1)
    codes = []
    for _ in range(3):
        socket = await open_socket(None)
        assert (await socket.connect(timeout=WAIT))[0]
        codes.append(await socket.closed_with())
    assert codes == [errors.SIGNED_OUT, errors.SIGNED_OUT, errors.LIMITED]


async def test_a_new_policy_counts_the_sockets_that_are_open(policy_of, alice, monkeypatch):
    monkeypatch.setattr(sockets, "RENEW_SECONDS", 0.05)
    await policy_of("other")
    limits = [SocketLimits(Member(alice.pk)) for _ in range(2)]
    for each in limits:
        assert (await each.open()).admitted
    policy = await policy_of("sockets", limit="2", **HELD)

    async def both_are_counted():
        return await held(policy, alice) == 2

    await until(both_are_counted)
    assert not (await SocketLimits(Member(alice.pk)).open()).admitted
    for each in limits:
        await each.close()
    assert await held(policy, alice) == 0


async def test_a_message_that_could_not_be_asked_about_is_not_waited_for(
    policy_of, people, open_socket, hub, monkeypatch
):
    alice, _, room = people
    await policy_of("message.send", frames="message.send", limit="999/s", burst=999, **BUCKET)
    socket = await open_socket(alice)
    await socket.hello()

    async def fail(*args):
        raise OperationalError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(SocketLimits, "ask", fail)
        for number in range(consumer.MAX_UNANSWERED + 1):
            await socket.say(room, "lost", f"lost-{number}")
        codes = {(await socket.frame("error"))["code"] for _ in range(consumer.MAX_UNANSWERED + 1)}
    assert codes == {"unavailable"}
    await socket.say(room, "found", "found")
    assert (await socket.frame("message.ack"))["id"] == "found"
    await socket.disconnect()


# --- Batches ---


async def test_a_crowd_of_questions_needs_no_crowd_of_connections(policy_of, alice):
    await policy_of("opened", subject="connect", identity="user", limit="700/min", algorithm=1)
    said = await asyncio.gather(*(SocketLimits(Member(alice.pk)).open() for _ in range(800)))
    assert [outcome.admitted for outcome in said].count(True) == 700
    assert not any(outcome.unanswered for outcome in said)


async def test_whatever_goes_wrong_nobody_waits_for_ever(monkeypatch, caplog):
    async def fail(questions):
        raise RuntimeError("a fault")

    monkeypatch.setattr(limiter, "ask_all", fail)
    async with asyncio.timeout(WAIT):
        assert await Batches.here().hit([Charge(Rule("batch", 2), "who")]) is None
    assert "could not be asked" in caplog.text


async def test_too_many_connections_say_nothing_of_redis():
    limiter._failed(MaxConnectionsError("Too many connections"))
    limiter._failed(TimeoutError("late"), took=60)
    assert limiter.breaker.ready()
    limiter._failed(TimeoutError("late"), took=0.06)
    assert not limiter.breaker.ready()
    limiter.breaker.succeeded()


async def test_questions_of_one_turn_go_together_and_are_answered_in_their_order(patient, monkeypatch):
    sent = batches_sent(monkeypatch)
    rule = Rule("batch", 30)
    answers = await asyncio.gather(*(Batches.here().hit([Charge(rule, "crowd")]) for _ in range(50)))
    assert sent == [50]
    assert [verdict.admitted for verdict in answers] == [True] * 30 + [False] * 20


async def test_a_caller_that_gives_up_does_not_hold_up_the_rest(patient):
    rule = Rule("batch", 2)
    first, second = Batches.here().hit([Charge(rule, "who")]), Batches.here().hit([Charge(rule, "who")])
    first.cancel()
    assert (await second).admitted


async def test_a_batch_of_several_identities_each_is_decided_as_one(patient):
    narrow, wide = Rule("narrow", 1), Rule("wide", 3)

    def ask(who):
        return Batches.here().hit([Charge(narrow, who), Charge(wide, "all")])

    said = await asyncio.gather(*(ask(who) for who in "aabbc"))
    assert [verdict.admitted for verdict in said] == [True, False, True, False, True]
