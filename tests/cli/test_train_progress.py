"""What `train` says about the time that is to come, where encoders learn."""

from __future__ import annotations

import pytest

from proxyhash.cli import train_progress
from proxyhash.training import read_config


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(train_progress.console, "note", told.append)
    monkeypatch.setattr(train_progress.console, "track", lambda steps, *_rest: iter(steps))
    return told


def run(
    notes: list[str], *, tune: str, step_seconds: float, steps: int, stage=range(1, 11), **options
) -> None:
    """Let the clock stand still outside of steps; the first two of all take a minute more each."""
    config = {"data": "d", "out": "o", "tune": tune, "epochs": 10, "image_encoder": "m"} | options
    now, first = 0.0, max(stage.start, 3)  # in which encoders learn
    progress = train_progress.Progress(read_config(config), clock=lambda: now)
    for epoch in progress.track(stage, "train dchml"):
        for number, _ in enumerate(progress.track(range(steps), f"epoch {epoch}, loss 0.5")):
            now += step_seconds + (60 if epoch == first and number < 2 else 0)


def test_an_epoch_is_estimated_once_from_the_first_in_which_encoders_learn(notes):
    run(notes, tune="image", step_seconds=2.0, steps=80)  # 2 of 10 epochs are of the networks alone
    assert notes == ["an epoch takes about 3 minutes, the 8 that are left 21 minutes"]


@pytest.mark.parametrize("options", [{"final_epochs": 0}, {"validate_every": 2}, {"patience": 1}])
def test_validations_are_added_where_there_are_some(notes, options):
    run(notes, tune="image", step_seconds=2.0, steps=80, **options)
    assert notes[0].endswith("left 21 minutes, and each validation comes on top")


def test_after_a_resume_the_epochs_left_are_those_of_the_stage(notes):
    run(notes, tune="image", step_seconds=2.0, steps=80, stage=range(31, 61), final_epochs=60)
    assert notes[0].startswith("an epoch takes about 3 minutes, the 30 that are left 80 minutes")


def test_short_steps_are_timed_for_a_while(notes):
    run(notes, tune="image", step_seconds=0.25, steps=24)
    assert notes[0].startswith("an epoch takes about 6 s, the 8 that are left 48 s")


def test_epochs_of_few_steps_are_timed_as_a_whole_from_the_second_one_on(notes):
    run(notes, tune="image", step_seconds=2.0, steps=4)
    assert notes == ["an epoch takes about 8 s, the 6 that are left 48 s"]


@pytest.mark.parametrize(("tune", "step_seconds"), [("none", 2.0), ("image", 0.1)])
def test_frozen_and_very_short_epochs_are_not_estimated(notes, tune, step_seconds):
    run(notes, tune=tune, step_seconds=step_seconds, steps=4)
    assert notes == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (99, "99 s"), (600, "10 minutes"), (12600, "3.5 hours")]
)
def test_durations(seconds, text):
    assert train_progress._duration(seconds) == text
