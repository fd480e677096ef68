from __future__ import annotations

import pytest
from pydantic import Field

from proxyhash.errors import UsageError
from proxyhash.methods.shared.settings import Settings, read_settings


class Oven(Settings):
    temperature: float = Field(default=180.0, gt=0)
    dish: str


def test_defaults_fill_in_and_the_result_is_frozen():
    oven = read_settings(Oven, {"dish": "pie"})
    assert oven == Oven(temperature=180.0, dish="pie")
    with pytest.raises(ValueError, match="frozen"):
        oven.dish = "cake"


def test_unknown_setting_suggests_the_nearest():
    with pytest.raises(UsageError) as caught:
        read_settings(Oven, {"dish": "pie", "temprature": 100})
    assert str(caught.value) == "unknown setting 'temprature'; did you mean 'temperature'?"


def test_unknown_setting_without_a_near_one_lists_all_and_says_whose():
    with pytest.raises(UsageError) as caught:
        read_settings(Oven, {"dish": "pie", "x": 1}, owner="the oven")
    expected = "unknown setting 'x' of the oven; known are dish, temperature"
    assert str(caught.value) == expected


def test_every_problem_is_named():
    with pytest.raises(UsageError) as caught:
        read_settings(Oven, {"temperature": -3})
    lines = str(caught.value).splitlines()
    assert sorted(lines) == [
        "setting dish is missing; give it with --dish",
        "setting temperature is -3: input should be greater than 0",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(UsageError, match="setting temperature is"):
        read_settings(Oven, {"dish": "pie", "temperature": value})
