"""Profiles are cached aside: every update is seen at once after its commit, and before it by nobody else."""

import threading

import pytest
from django.db import transaction

from accounts import services
from accounts.models import User
from accounts.profiles import PROFILE_TTL, get_profile, get_profiles
from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client

pytestmark = pytest.mark.topology


@pytest.fixture
def alice(transactional_db, make_user):
    return make_user("alice")


def profile(user):
    found = get_profile(user.pk)
    assert found is not None
    return found


def name_of(user):
    return profile(user).name


def change(user, **changes):
    values = {"display_name": user.display_name, "bio": user.bio, "time_zone": user.time_zone}
    return services.update_profile(user, **{**values, **changes})


def test_a_profile_is_cached_for_ten_minutes(alice, django_assert_num_queries):
    assert PROFILE_TTL == 600
    with django_assert_num_queries(1):
        assert name_of(alice) == "Alice"
    with django_assert_num_queries(0):
        assert name_of(alice) == "Alice"
    ttl = redis_client(Role.CACHE).ttl(keys.cached("profile", alice.pk))
    assert 530 < ttl <= 600  # up to a tenth is taken off, so that not all expire together


def test_several_profiles_cost_one_query(alice, make_user, django_assert_num_queries):
    bob = make_user("bob")
    get_profile(alice.pk)
    with django_assert_num_queries(1):
        profiles = get_profiles([alice.pk, bob.pk, 987654])
    assert {key: profile and profile.name for key, profile in profiles.items()} == {
        alice.pk: "Alice",
        bob.pk: "Bob",
        987654: None,
    }
    with django_assert_num_queries(0):
        get_profiles([alice.pk, bob.pk, 987654])


def by_service(user):
    change(user, display_name="Changed")


def by_save(user):
    user.display_name = "Changed"
    user.save()


def by_named_fields(user):
    user.display_name = "Changed"
    user.save(update_fields=["display_name"])


@pytest.mark.database
@pytest.mark.parametrize("update", [by_service, by_save, by_named_fields])
def test_every_update_is_seen_at_once(alice, update):
    assert name_of(alice) == "Alice"
    update(alice)
    assert name_of(alice) == "Changed"


def test_a_deactivation_of_many_is_seen_at_once(alice, make_user):
    bob = make_user("bob")
    assert profile(alice).active
    assert profile(bob).active
    assert services.set_active(User.objects.all(), False) == 2
    assert not profile(alice).active
    assert not profile(bob).active


def test_a_deleted_person_has_no_profile(alice):
    number = alice.pk
    assert get_profile(number)
    alice.delete()
    assert get_profile(number) is None


def test_signing_in_does_not_empty_the_cache(alice, client, django_assert_num_queries):
    get_profile(alice.pk)
    client.force_login(alice)
    with django_assert_num_queries(0):
        get_profile(alice.pk)


@pytest.mark.database
def test_others_see_an_update_after_its_commit_and_not_before(alice):
    assert name_of(alice) == "Alice"
    seen = []

    def look():
        seen.append(name_of(alice))

    with transaction.atomic():
        User.objects.filter(pk=alice.pk).update(display_name="Changed")
        alice.display_name = "Changed"
        alice.save()
        reader = threading.Thread(target=look)
        reader.start()
        reader.join(10)
    assert seen == ["Alice"]
    assert name_of(alice) == "Changed"


def test_an_update_that_is_rolled_back_changes_nothing(alice):
    get_profile(alice.pk)
    with transaction.atomic():
        change(alice, display_name="Changed")
        assert name_of(alice) == "Changed"
        transaction.set_rollback(True)
    assert name_of(alice) == "Alice"
