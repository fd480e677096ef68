"""What belongs to a run is found, and what does not belong together is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxyhash.data.run_data import read_run, read_run_collection, read_run_config
from proxyhash.errors import ModelError
from proxyhash.files import write_json
from tests.evaluation.runs import make_run

if TYPE_CHECKING:
    from pathlib import Path


def test_the_parts_of_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    found = read_run(run.folder)
    assert found.folder == run.folder
    assert found.config["method"] == "dchml"
    assert found.collection == run.collection
    assert found.split.query.tolist() == run.split.query.tolist()
    assert found.codes.ids == run.collection.ids


def test_a_collection_that_moved_can_be_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(ModelError, match=r"is no longer at .*; give its new location with --data"):
        read_run_collection(run.folder)
    assert read_run_collection(run.folder, data=tmp_path / "moved").ids == run.collection.ids


def test_labels_are_split_as_in_the_training(tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text('id,text,labels\n1,x,"dog,cat"\n')
    write_json(tmp_path / "config.json", {"data": str(table), "label_separator": ","})
    assert read_run_collection(tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize("content", [[], {"bits": 16}, {"data": 3}])
def test_a_configuration_without_data_is_refused(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "config.json", content)
    with pytest.raises(ModelError, match="has no key 'data'; was it edited"):
        read_run_config(tmp_path)


@pytest.mark.parametrize("name", ["split.json", "codes.npz"])
def test_an_unfinished_run_is_refused(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path)
    (run.folder / name).unlink()
    with pytest.raises(ModelError, match=f"has no {name}; the training did not finish"):
        read_run(run.folder)


def test_codes_of_another_width_or_other_items_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    config = read_run_config(run.folder)
    write_json(run.folder / "config.json", config | {"bits": 64})
    with pytest.raises(ModelError, match="holds codes of 16 bits, but the run has 64"):
        read_run(run.folder)
    items = tmp_path / "data" / "items.jsonl"
    items.write_text("\n".join(items.read_text().splitlines()[1:]), encoding="utf-8")
    with pytest.raises(ModelError, match="holds the codes of other items than"):
        read_run(run.folder)


def test_codes_of_another_model_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    header = run.folder / "model" / "model.json"
    write_json(header, {"fingerprint": run.codes.model})
    assert read_run(run.folder).codes.model == run.codes.model
    write_json(header, {"fingerprint": "another"})
    with pytest.raises(ModelError, match=r"codes.npz was made by another model than .*model"):
        read_run(run.folder)
