"""A run in which both towers of a NaFlex model learn, from images of any shape."""

import numpy as np
import pytest

from proxyhash.codes import CodeFile
from proxyhash.errors import ModelError
from proxyhash.hashing import HashModel
from proxyhash.training import train
from tests.encoders.siglip_models import save_naflex
from tests.training.runs import assert_same_run, config_of


@pytest.fixture(scope="module")
def naflex(tmp_path_factory):
    return str(save_naflex(tmp_path_factory.mktemp("naflex") / "model"))


def config(scenes, out, naflex, **values):
    encoders = {"image": naflex, "text": naflex}
    tuning = {"tune": ["image", "text"], "epochs": 2, "final_epochs": 1, "head_epochs": 0}
    return config_of(scenes.root, out, encoders=encoders, **{**tuning, **values})


@pytest.mark.slow
def test_both_towers_learn_together(scenes, naflex, tmp_path):
    config_ = config(scenes, tmp_path / "run", naflex)
    result = train(config_)
    tuned = result.metrics["training"]["tuned"]
    assert (tuned["image"]["image_size"], set(tuned)) == (32, {"image", "text"})
    model, codes = (
        HashModel.load(tmp_path / "run" / "model"),
        CodeFile.load(tmp_path / "run" / "codes.npz"),
    )
    again = model.encode_collection(scenes)
    for modality in ("image", "text"):
        assert np.array_equal(again.of(modality), codes.of(modality))
    train(config_.model_copy(update={"out": str(tmp_path / "again")}))
    assert_same_run(tmp_path / "run", tmp_path / "again")


def test_an_image_size_that_patches_do_not_fill_is_refused(scenes, naflex, tmp_path):
    with pytest.raises(ModelError, match=r"no images of 30 x 30 pixels .*multiples of 8"):
        train(config(scenes, tmp_path / "run", naflex, image_size=30))
