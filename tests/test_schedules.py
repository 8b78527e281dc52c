"""When jobs run: cron expressions where clocks are changed, intervals, and what is due after a pause."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from intellicolab.jobs.schedules import Cron, Every, Missed, ScheduleError, due

BERLIN, NEW_YORK, LORD_HOWE, TOKYO = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Tokyo"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)  # a Monday


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def runs(schedule, after, until):
    """Every run after one moment and up to another."""

    def follow(run):
        while True:
            run = schedule.after(run)
            yield run

    return list(takewhile(lambda run: run <= until, follow(after)))


def shown(expression, zone, day, first=0, last=24):
    """The runs on a local day between two of its hours, as the clock there shows them, with its offset."""
    clock = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=clock).astimezone(UTC)
    found = runs(Cron(expression, zone), start - MINUTE, start + 30 * HOUR)
    local = [run.astimezone(clock) for run in found]
    return [
        time.isoformat(timespec="minutes")[11:]
        for time in local
        if time.date().isoformat() == day and first <= time.hour < last
    ]


class Counted:
    """A schedule that notes how often it is asked."""

    def __init__(self, schedule):
        self.schedule, self.asked = schedule, 0

    def after(self, moment):
        self.asked += 1
        return self.schedule.after(moment)


# What an expression names


@pytest.mark.parametrize(
    ("expression", "first", "second"),
    [
        ("* * * * *", "2026-06-15 12:01", "2026-06-15 12:02"),
        ("5 * * * *", "2026-06-15 12:05", "2026-06-15 13:05"),
        ("*/25 * * * *", "2026-06-15 12:25", "2026-06-15 12:50"),
        ("5/25 * * * *", "2026-06-15 12:05", "2026-06-15 12:30"),
        ("10-20/10,55 * * * *", "2026-06-15 12:10", "2026-06-15 12:20"),
        ("0 12 * * *", "2026-06-16 12:00", "2026-06-17 12:00"),  # strictly after
        ("30 4 * * MON-FRI", "2026-06-16 04:30", "2026-06-17 04:30"),
        ("30 4 * * sat,sun", "2026-06-20 04:30", "2026-06-21 04:30"),
        ("0 0 * * 7", "2026-06-21 00:00", "2026-06-28 00:00"),
        ("0 0 * * 0", "2026-06-21 00:00", "2026-06-28 00:00"),
        ("0 0 * * 6-7", "2026-06-20 00:00", "2026-06-21 00:00"),
        ("0 0 1 JAN,jul *", "2026-07-01 00:00", "2027-01-01 00:00"),
        ("0 0 31 * *", "2026-07-31 00:00", "2026-08-31 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00", "2032-02-29 00:00"),
        ("0 0 29 2 */7", "2032-02-29 00:00", "2060-02-29 00:00"),  # 29 February on a Sunday
        (" 0  6 *\t* * ", "2026-06-16 06:00", "2026-06-17 06:00"),
        ("@hourly", "2026-06-15 13:00", "2026-06-15 14:00"),
        ("@daily", "2026-06-16 00:00", "2026-06-17 00:00"),
        ("@Weekly", "2026-06-21 00:00", "2026-06-28 00:00"),
        ("@monthly", "2026-07-01 00:00", "2026-08-01 00:00"),
        ("@yearly", "2027-01-01 00:00", "2028-01-01 00:00"),
    ],
)
def test_an_expression_names_its_runs(expression, first, second):
    schedule = Cron(expression, "UTC")
    assert schedule.after(NOON) == utc(first)
    assert schedule.after(utc(first)) == utc(second)


def days(expression):
    found = runs(Cron(expression, "UTC"), utc("2026-05-31 23:59"), utc("2026-06-30 23:59"))
    return [run.day for run in found]


def test_a_day_matches_either_field_when_both_are_restricted():
    assert days("0 0 13 * FRI") == [5, 12, 13, 19, 26]


def test_a_day_matches_both_fields_when_one_begins_with_a_star():
    assert days("0 0 13 * *") == [13]
    assert days("0 0 * * FRI") == [5, 12, 19, 26]
    assert days("0 0 */2 * FRI") == [5, 19]


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "write five fields"),
        ("* * * *", "write five fields"),
        ("0 * * * * *", "write five fields"),
        ("@reboot", "@hourly, @daily"),
        ("60 * * * *", "'60' is no minute: write 0 to 59"),
        ("-5 * * * *", "'' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("٣ * * * *", "is no minute"),
        ("9999999 * * * *", "is no minute"),
        ("* 24 * * *", "'24' is no hour: write 0 to 23"),
        ("* * 0 * *", "'0' is no day of the month: write 1 to 31"),
        ("* * L * *", "'L' is no day of the month"),
        ("* * * 13 *", "'13' is no month: write 1 to 12, or JAN to DEC"),
        ("* * * MON *", "'MON' is no month"),
        ("* * * * 8", "'8' is no day of the week: write 0 to 7, or SUN to SAT"),
        ("* * * * FRI-SUN", "'FRI-SUN' in the day of the week runs backwards: write two ranges"),
        ("*/0 * * * *", "'0' is no step of the minute: write 1 to 60"),
        ("*/ * * * *", "'' is no step of the minute"),
        ("*/90 * * * *", "'90' is no step of the minute: write 1 to 60, or use an interval"),
        ("0 0 30 2 *", "never comes: its months have no day 30. Write a day up to 29, or another month"),
        ("0 0 31 4,6,9,11 *", "never comes: its months have no day 31. Write a day up to 30"),
        ("0 0 30 2 */2", "never comes"),
    ],
)
def test_an_expression_that_is_none_is_refused_with_a_way_out(expression, told):
    with pytest.raises(ScheduleError) as caught:
        Cron(expression, BERLIN)
    assert told in str(caught.value)


def test_a_day_that_no_month_has_is_no_fault_beside_a_weekday():
    assert days("0 0 30 2 MON") == []
    assert Cron("0 0 30 2 MON", "UTC").after(NOON) == utc("2027-02-01 00:00")


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "Europe", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\0"]
)
def test_a_zone_that_is_none_is_refused(zone):
    with pytest.raises(ScheduleError, match="is not a time zone"):
        Cron("@daily", zone)


@pytest.mark.parametrize("schedule", [Cron("@daily", BERLIN), Every(60, NOON)])
def test_a_moment_without_a_zone_is_refused(schedule):
    with pytest.raises(ScheduleError, match="give an aware moment"):
        schedule.after(datetime(2026, 6, 15))


def test_a_schedule_is_the_same_wherever_the_moment_is_from():
    there = NOON.astimezone(ZoneInfo(NEW_YORK))
    for schedule in (Cron("@daily", BERLIN), Every(60, there)):
        assert schedule.after(there) == schedule.after(NOON)
        assert schedule.after(there).tzinfo is UTC
    assert Cron("@daily", BERLIN) == Cron("@daily", BERLIN) != Cron("@daily", TOKYO)


# Clocks that are changed


@pytest.mark.parametrize(
    ("zone", "day", "gap", "inside", "end"),
    [
        (BERLIN, "2026-03-29", "2:00 to 3:00", "30 2", "03:00+02:00"),
        (NEW_YORK, "2026-03-08", "2:00 to 3:00", "59 2", "03:00-04:00"),
        (LORD_HOWE, "2026-10-04", "2:00 to 2:30", "15 2", "02:30+11:00"),
        ("Africa/Cairo", "2026-04-24", "0:00 to 1:00", "0 0", "01:00+03:00"),
    ],
)
def test_a_fixed_time_that_does_not_exist_comes_once_after_the_gap(zone, day, gap, inside, end):
    assert shown(f"{inside} * * *", zone, day) == [end], gap
    assert len(shown(f"{inside} * * *", zone, (date.fromisoformat(day) + DAY).isoformat())) == 1


def test_a_gap_that_ends_on_the_next_day_takes_its_runs_along():
    # Nuuk goes from 23:00 on Saturday to Sunday, and in 2011 Samoa had no 30 December.
    assert Cron("30 23 * * *", "America/Nuuk").after(utc("2026-03-28 12:00")) == utc("2026-03-29 01:00")
    assert shown("0 12 * * *", "Pacific/Apia", "2011-12-31") == ["00:00+14:00", "12:00+14:00"]


def test_several_fixed_times_in_one_gap_come_there_once():
    assert shown("0,20,40 2,3 * * *", BERLIN, "2026-03-29") == ["03:00+02:00", "03:20+02:00", "03:40+02:00"]


@pytest.mark.parametrize(
    ("zone", "day", "fields", "first"),
    [
        (BERLIN, "2026-10-25", "30 2", "02:30+02:00"),
        (NEW_YORK, "2026-11-01", "0 1", "01:00-04:00"),
        (LORD_HOWE, "2026-04-05", "45 1", "01:45+11:00"),
    ],
)
def test_a_fixed_time_that_exists_twice_comes_the_first_time(zone, day, fields, first):
    assert shown(f"{fields} * * *", zone, day) == [first]


def test_a_range_is_a_list_of_fixed_times():
    assert (
        shown("0 0-23 * * *", BERLIN, "2026-10-25", last=4) == "00:00+02:00 01:00+02:00 02:00+02:00 03:00+01:00".split()
    )


def test_between_the_two_a_fixed_time_is_over_for_the_day():
    second_pass = utc("2026-10-25 01:15")  # 2:15 in Berlin, for the second time
    assert Cron("30 2 * * *", BERLIN).after(second_pass) == utc("2026-10-26 01:30")


@pytest.mark.parametrize(
    ("expression", "zone", "day", "times"),
    [
        ("*/30 * * * *", BERLIN, "2026-03-29", "01:00+01:00 01:30+01:00 03:00+02:00 03:30+02:00"),
        ("*/30 * * * *", NEW_YORK, "2026-03-08", "01:00-05:00 01:30-05:00 03:00-04:00 03:30-04:00"),
        (
            "*/15 * * * *",
            LORD_HOWE,
            "2026-10-04",
            "01:00+10:30 01:15+10:30 01:30+10:30 01:45+10:30 02:30+11:00 02:45+11:00 "
            "03:00+11:00 03:15+11:00 03:30+11:00 03:45+11:00",
        ),
        ("0 * * * *", LORD_HOWE, "2026-10-04", "01:00+10:30 03:00+11:00"),  # 2:00 is missing
        ("*/30 2 * * *", BERLIN, "2026-03-29", ""),
        ("0 * * * *", TOKYO, "2026-03-29", "01:00+09:00 02:00+09:00 03:00+09:00"),
    ],
)
def test_steps_leave_out_nothing_but_the_missing_times(expression, zone, day, times):
    assert shown(expression, zone, day, first=1, last=4) == times.split()


@pytest.mark.parametrize(
    ("expression", "zone", "day", "times"),
    [
        ("0 * * * *", BERLIN, "2026-10-25", "01:00+02:00 02:00+02:00 02:00+01:00"),
        ("*/30 2 * * *", BERLIN, "2026-10-25", "02:00+02:00 02:30+02:00 02:00+01:00 02:30+01:00"),
        ("30 */2 * * *", BERLIN, "2026-10-25", "02:30+02:00 02:30+01:00"),
        ("0-29/15 2 * * *", BERLIN, "2026-10-25", "02:00+02:00 02:15+02:00 02:00+01:00 02:15+01:00"),
        ("0 * * * *", NEW_YORK, "2026-11-01", "01:00-04:00 01:00-05:00 02:00-05:00"),
        ("*/20 1 * * *", LORD_HOWE, "2026-04-05", "01:00+11:00 01:20+11:00 01:40+11:00 01:40+10:30"),
        ("*/15 2 * * *", TOKYO, "2026-10-25", "02:00+09:00 02:15+09:00 02:30+09:00 02:45+09:00"),
    ],
)
def test_steps_run_in_both_of_two_repeated_hours(expression, zone, day, times):
    assert shown(expression, zone, day, first=1, last=3) == times.split()


def test_after_a_repeated_half_hour_the_hours_are_whole_again():
    assert Cron("*/15 5 * * *", LORD_HOWE).after(utc("2026-04-04 13:10")) == utc("2026-04-04 18:30")


@pytest.mark.parametrize(("day", "count"), [("2026-03-29", 23 * 60), ("2026-03-30", 24 * 60), ("2026-10-25", 25 * 60)])
def test_every_minute_is_every_minute_of_a_day_however_long(day, count):
    assert len(shown("* * * * *", BERLIN, day)) == count


# Against a plain model: each minute in turn, and what the clock shows then


@dataclass
class Drawn:
    """An expression whose fields are sets of numbers, or None for a `*`."""

    minute: set[int] | None
    hour: set[int] | None
    day: set[int] | None
    month: set[int] | None
    weekday: set[int] | None

    def __str__(self):
        return " ".join("*" if field is None else ",".join(map(str, field)) for field in vars(self).values())

    @property
    def elapsed(self):
        return self.minute is None or self.hour is None

    def names(self, local):
        """Whether this is one of its local times."""
        by_number = self.day is None or local.day in self.day
        by_weekday = self.weekday is None or bool({local.isoweekday(), local.isoweekday() % 7} & self.weekday)
        either = self.day is not None and self.weekday is not None
        return (
            (self.minute is None or local.minute in self.minute)
            and (self.hour is None or local.hour in self.hour)
            and (self.month is None or local.month in self.month)
            and (by_number or by_weekday if either else by_number and by_weekday)
        )


def numbers(low, high):
    return st.none() | st.sets(st.integers(low, high), min_size=1, max_size=4)


drawn = st.builds(
    Drawn,
    minute=numbers(0, 59),
    hour=numbers(0, 4),  # when clocks are changed
    day=numbers(1, 28),  # none that never comes
    month=st.none() | st.just({3, 4, 10, 11}) | st.sets(st.integers(1, 12), min_size=1, max_size=2),
    weekday=st.none() | st.just({0, 6}) | st.sets(st.integers(0, 7), min_size=1, max_size=2),
)
zones = st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, TOKYO, "Africa/Cairo", "America/Nuuk", "America/St_Johns"])
changes = [
    "2007-11-04",
    "2026-03-08",
    "2026-03-29",
    "2026-04-05",
    "2026-04-24",
    "2026-10-04",
    "2026-10-25",
    "2026-11-01",
]
near_changes = st.builds(
    lambda day, passed: utc(day) + timedelta(seconds=passed), st.sampled_from(changes), st.integers(-43_200, 43_200)
)
any_time = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def modelled(expression, clock, after, until):
    """The runs by a walk through every minute: a fixed time comes when the clock first shows it or has passed it."""
    moment, found = after.replace(second=0) - DAY, []
    reached = shown_by(clock, moment)
    while (moment := moment + MINUTE) <= until:
        local = shown_by(clock, moment)
        passed = (
            [local] if expression.elapsed else [reached + MINUTE * n for n in range(1, (local - reached) // MINUTE + 1)]
        )
        reached = max(reached, local)
        if moment > after and any(map(expression.names, passed)):
            found.append(moment)
    return found


def shown_by(clock, moment):
    return moment.astimezone(clock).replace(tzinfo=None, fold=0)


@given(drawn, zones, near_changes)
@examples(max_examples=200, deadline=None)
def test_the_runs_are_those_of_a_walk_through_every_minute(expression, zone, start):
    until = start + 18 * HOUR
    assert runs(Cron(str(expression), zone), start, until) == modelled(expression, ZoneInfo(zone), start, until)


@given(drawn, zones, any_time | near_changes)
@examples(max_examples=200, deadline=None)
def test_runs_follow_each_other_and_match_their_expression(expression, zone, moment):
    schedule, clock = Cron(str(expression), zone), ZoneInfo(zone)
    for _ in range(5):
        run = schedule.after(moment)
        assert run > moment
        assert schedule.after(run - timedelta.resolution) == run
        assert expression.names(run.astimezone(clock)) or follows_gap(run, clock)
        moment = run


def follows_gap(run, clock):
    """Whether the clock jumps forward to this moment."""
    return run.astimezone(clock).utcoffset() > (run - MINUTE).astimezone(clock).utcoffset()


# Intervals


def test_an_interval_keeps_to_its_anchor_however_late_it_is_asked():
    schedule = Every(90, NOON)
    assert schedule.after(NOON) == NOON + timedelta(seconds=90)
    assert schedule.after(NOON + timedelta(seconds=179, milliseconds=999)) == NOON + timedelta(seconds=180)
    assert schedule.after(NOON + 10_000 * DAY) == NOON + 10_000 * DAY + timedelta(seconds=90)


def test_an_interval_begins_with_its_anchor():
    assert Every(90, NOON).after(NOON - 1000 * DAY) == NOON


def test_an_interval_may_have_fractions_of_a_second():
    assert Every(1.5, NOON).after(NOON + timedelta(seconds=2)) == NOON + timedelta(seconds=3)


@given(
    st.floats(1, 1e7) | st.integers(1, 10**7),
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
def test_runs_of_an_interval_follow_each_other_at_its_pace(seconds, moment):
    schedule, interval = Every(seconds, NOON), timedelta(seconds=seconds)
    first = schedule.after(moment)
    assert first == NOON or moment < first <= moment + interval
    assert (first - NOON) % interval == timedelta()
    assert schedule.after(first) == first + interval


@pytest.mark.parametrize("seconds", [0, 0.99, -60, float("nan"), float("inf"), 1e12])
def test_an_interval_that_is_too_short_or_none_is_refused(seconds):
    with pytest.raises(ScheduleError, match="write 1 s or more"):
        Every(seconds, NOON)


def test_an_anchor_without_a_zone_is_refused():
    with pytest.raises(ScheduleError, match="give an aware moment"):
        Every(60, datetime(2026, 6, 15))


# What is due

HOURLY = Cron("@hourly", BERLIN)


def ago(hours):
    return NOON - hours * HOUR


@pytest.mark.parametrize("missed", Missed)
def test_nothing_is_due_before_its_time(missed):
    assert due(HOURLY, ago(1), NOON - timedelta.resolution, missed) == []
    assert due(HOURLY, ago(0), NOON, missed) == []


@pytest.mark.parametrize("missed", Missed)
@pytest.mark.parametrize("late", [timedelta(), MINUTE])
def test_a_moment_within_the_grace_is_due_and_not_missed(missed, late):
    assert due(HOURLY, ago(1), NOON + late, missed) == [NOON]


@pytest.mark.parametrize(
    ("missed", "planned"),
    [(Missed.SKIP, [ago(0)]), (Missed.ONCE, [ago(1), ago(0)]), (Missed.ALL, [ago(3), ago(2), ago(1), ago(0)])],
)
def test_missed_runs_are_left_out_put_together_or_made_up_for(missed, planned):
    assert due(HOURLY, ago(4), NOON + MINUTE, missed) == planned


@pytest.mark.parametrize(("missed", "planned"), [(Missed.SKIP, []), (Missed.ONCE, [ago(0)]), (Missed.ALL, [ago(0)])])
def test_a_moment_beyond_the_grace_is_missed(missed, planned):
    late = NOON + MINUTE + timedelta.resolution
    assert due(HOURLY, ago(1), late, missed) == planned
    assert due(HOURLY, ago(1), late, missed, grace=2 * MINUTE) == [NOON]


def test_all_that_lie_within_the_grace_are_due():
    assert due(Every(20, NOON), NOON, NOON + 10 * MINUTE, Missed.SKIP) == [
        NOON + 9 * MINUTE + timedelta(seconds=passed) for passed in (0, 20, 40, 60)
    ]


def test_runs_that_were_missed_are_made_up_for_in_parts():
    first = due(HOURLY, ago(5), NOON, Missed.ALL, most=3)
    assert first == [ago(4), ago(3), ago(2)]
    assert due(HOURLY, first[-1], NOON, Missed.ALL, most=3) == [ago(1), ago(0)]


@pytest.mark.parametrize("missed", Missed)
def test_a_clock_that_is_set_back_repeats_nothing(missed):
    assert due(HOURLY, NOON, ago(3), missed) == []
    assert due(HOURLY, NOON, ago(3), missed, grace=DAY) == []
    assert due(HOURLY, NOON, ago(-1), missed) == [ago(-1)]


@pytest.mark.parametrize("schedule", [Every(1, NOON), Cron("* * * * *", BERLIN), Cron("* * * 7 *", NEW_YORK)])
@pytest.mark.parametrize(("missed", "returned"), [(Missed.SKIP, 0), (Missed.ONCE, 1), (Missed.ALL, 100)])
def test_a_clock_that_jumps_by_years_costs_no_more_than_the_runs_that_are_returned(schedule, missed, returned):
    counted, now = Counted(schedule), utc("2226-06-15 12:00:30.5")
    on_time = len(runs(schedule, now - MINUTE, now))
    found = due(counted, NOON, now, missed)
    assert counted.asked <= 150
    assert len(found) == (100 if missed is Missed.ALL else returned + on_time)
    assert found == sorted(set(found))


@given(st.integers(30, 5000), st.integers(0, 200_000), st.integers(0, 300), st.booleans())
@examples(deadline=None)
def test_one_run_for_all_is_the_latest_that_was_missed(pace, passed, grace, calendar):
    schedule = Cron("*/7 3-20 * * MON,THU", BERLIN) if calendar else Every(pace, NOON - DAY)
    now, grace = NOON + timedelta(seconds=passed), timedelta(seconds=grace)
    every = due(schedule, NOON, now, Missed.ALL, grace, most=10**7)
    missed, on_time = [run for run in every if run < now - grace], [run for run in every if run >= now - grace]
    assert due(schedule, NOON, now, Missed.ONCE, grace, most=1000) == missed[-1:] + on_time
    assert due(schedule, NOON, now, Missed.SKIP, grace, most=1000) == on_time
    assert list(islice(every, 5)) == due(schedule, NOON, now, Missed.ALL, grace, most=5)


def test_no_more_than_the_most_are_due_at_once():
    many = Every(1, NOON - DAY)
    for missed in Missed:
        assert len(due(many, ago(2), NOON, missed, grace=HOUR, most=10)) == 10


def test_moments_without_a_zone_are_refused():
    with pytest.raises(ScheduleError, match="give an aware moment"):
        due(HOURLY, datetime(2026, 6, 15), NOON, Missed.SKIP)
