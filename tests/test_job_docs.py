"""docs/jobs.md names every task and every plan, with what is declared of them."""

import ast
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from django.utils.module_loading import import_string

from intellicolab.jobs.plans import plans
from intellicolab.jobs.schedules import Cron
from intellicolab.jobs.task import Job

ROOT = Path(__file__).resolve().parent.parent
APPS = ("accounts", "intellicolab", "ratelimit", "realtime", "audit")
NOT_OPTIONS = {"func", "backend", "run_after", "takes_context"}
DEFAULTS = {
    field.name: field.default for field in fields(Job) if field.default is not MISSING and field.name not in NOT_OPTIONS
}


def table(heading):
    """The rows of the table below a heading, as lists of cells."""
    text = (ROOT / "docs" / "jobs.md").read_text()
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]
    rows = re.findall(r"^\| (.+)\|$", section, re.M)[1:]
    return [[cell.strip() for cell in row.split("|")] for row in rows if not row.startswith("---")]


def declared_in(path):
    """The functions of a file that are made tasks."""
    for node in ast.walk(ast.parse(path.read_text())):
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ()
        if any(ast.unparse(each).split("(")[0] == "task" for each in decorators):
            yield ".".join([*path.relative_to(ROOT).with_suffix("").parts, node.name])


def declared():
    return {name for app in APPS for path in (ROOT / app).rglob("*.py") for name in declared_in(path)}


def test_a_task_is_found_by_its_decorator():
    assert "tests.job_tasks.say_once" in set(declared_in(ROOT / "tests" / "job_tasks.py"))


def test_every_task_has_a_row():
    assert {row[0].strip("`") for row in table("Tasks")} == declared()


@pytest.mark.parametrize("row", table("Tasks"), ids=lambda row: row[0].strip("`"))
def test_a_row_has_the_options_that_are_not_the_defaults(row):
    task = import_string(row[0].strip("`"))
    told = {name: ast.literal_eval(value) for name, value in re.findall(r"`(\w+)=([^`]+)`", row[2])}
    made = {name: getattr(task, name) for name in DEFAULTS}
    assert told == {name: value for name, value in made.items() if value != DEFAULTS[name]}


def test_every_plan_has_a_row_with_its_task_and_its_time():
    rows = {row[0]: (row[1].strip("`"), row[2].strip("`")) for row in table("Plans")}
    ours = [plan for plan in plans() if plan.task.module_path in declared()]
    assert set(rows) == {plan.name for plan in ours}
    for plan in ours:
        assert plan.task.module_path == rows[plan.name][0]
        assert not isinstance(plan.schedule, Cron) or plan.schedule.expression == rows[plan.name][1]
