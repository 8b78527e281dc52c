"""A person's tier is cached in the process too, and every change that matters is seen at once after its commit."""

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from accounts import services
from accounts.models import User
from accounts.tiers import AUTHENTICATED, STAFF, Tier, atier_of, tier_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def writers(alice):
    group = Group.objects.create(name="writers")
    alice.groups.add(group)
    return group


@pytest.mark.database
def test_who_is_who(alice, make_user):
    staff = make_user("bob", is_staff=True)
    inactive = make_user("charlie", is_active=False)
    assert tier_of(alice.pk) == Tier(AUTHENTICATED, ())
    assert tier_of(staff.pk) == Tier(STAFF, ())
    assert tier_of(inactive.pk) is None
    assert tier_of(987654) is None


@pytest.mark.database
def test_groups_are_told_by_name(alice, writers):
    alice.groups.add(Group.objects.create(name="editors"))
    assert tier_of(alice.pk) == Tier(AUTHENTICATED, ("editors", "writers"))


@pytest.mark.topology
def test_asking_again_costs_no_query(alice, writers, django_assert_num_queries):
    with django_assert_num_queries(1):
        tier_of(alice.pk)
    with django_assert_num_queries(0):
        tier_of(alice.pk)


@pytest.mark.topology
async def test_asynchronous_code_gets_the_same(alice, writers, async_redis):
    assert await atier_of(alice.pk) == Tier(AUTHENTICATED, ("writers",))


def by_save(user, group):
    user.is_staff = True
    user.save()


def by_named_fields(user, group):
    user.is_staff = True
    user.save(update_fields=["is_staff"])


def by_deactivation(user, group):
    services.set_active([user], False)


def by_deletion(user, group):
    user.delete()


def by_leaving(user, group):
    user.groups.remove(group)


def by_leaving_all(user, group):
    user.groups.clear()


def by_being_removed(user, group):
    group.user_set.remove(user)


def by_emptying_the_group(user, group):
    group.user_set.clear()


def by_renaming_the_group(user, group):
    group.name = "authors"
    group.save()


def by_deleting_the_group(user, group):
    group.delete()


CHANGES = {
    by_save: Tier(STAFF, ("writers",)),
    by_named_fields: Tier(STAFF, ("writers",)),
    by_deactivation: None,
    by_deletion: None,
    by_leaving: Tier(AUTHENTICATED, ()),
    by_leaving_all: Tier(AUTHENTICATED, ()),
    by_being_removed: Tier(AUTHENTICATED, ()),
    by_emptying_the_group: Tier(AUTHENTICATED, ()),
    by_renaming_the_group: Tier(AUTHENTICATED, ("authors",)),
    by_deleting_the_group: Tier(AUTHENTICATED, ()),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_is_seen_at_once(alice, writers, change):
    number = alice.pk
    assert tier_of(number) == Tier(AUTHENTICATED, ("writers",))
    change(alice, writers)
    assert tier_of(number) == CHANGES[change]


@pytest.mark.topology
def test_a_change_that_is_rolled_back_changes_nothing(alice, django_assert_num_queries):
    tier_of(alice.pk)
    with transaction.atomic():
        User.objects.filter(pk=alice.pk).update(is_staff=True)
        alice.is_staff = True
        alice.save()
        assert tier_of(alice.pk) == Tier(STAFF, ())
        transaction.set_rollback(True)
    with django_assert_num_queries(0):
        assert tier_of(alice.pk) == Tier(AUTHENTICATED, ())


def test_signing_in_does_not_empty_the_cache(alice, client, django_assert_num_queries):
    tier_of(alice.pk)
    client.force_login(alice)
    with django_assert_num_queries(0):
        tier_of(alice.pk)


def test_the_database_answers_while_redis_is_away(alice, redis_server):
    redis_server.kill()
    assert tier_of(alice.pk) == Tier(AUTHENTICATED, ())


def test_the_menu_leads_administrators_to_the_administration(alice, browser_of):
    browser = browser_of(alice)
    assert b"Administration" not in browser.get("/rooms/").content
    alice.is_staff = True
    alice.save()
    assert b"Administration" in browser.get("/rooms/").content


def test_another_process_sees_the_change(site):
    (person,) = site.people("tina")
    address, cookie = "/rooms/", person["cookie"]
    assert b"Administration" in site.get(address, Cookie=cookie)[1]
    change = f"from accounts.models import User; u = User.objects.get(pk={person['id']}); u.is_staff = False; u.save()"
    assert site.manage("shell", "-v", "0", "-c", change).returncode == 0
    assert b"Administration" not in site.get(address, Cookie=cookie)[1]
