"""Two real processes under torchrun against one: what they compute, agree on, and how they end."""

from __future__ import annotations

import os

import pytest
import torch

from proxyhash.errors import UsageError
from proxyhash.training.processes import SINGLE, Processes, open_processes
from tests.training.torchrun import start_two
from tests.training.two_processes import ROWS, steps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The end of torchrun, after the second of two processes was killed, and what each found."""
    folder = tmp_path_factory.mktemp("two")
    run = start_two("tests.training.two_processes", folder)
    _, errors = run.communicate(timeout=300)
    assert (folder / "1.pt").exists(), errors
    return run.returncode, errors, [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def found(ended):
    return ended[2]


def test_each_process_knows_which_it_is(found):
    assert [each["who"] for each in found] == [(0, 2, 0, True, "gloo"), (1, 2, 1, False, "gloo")]


def test_two_processes_compute_what_one_computes(found):
    """After three steps of 7, 6 and 1 rows; the last of them leaves process 1 without any."""
    assert ROWS == (7, 6, 1)
    weights, gradients, features = steps()
    for each in found:
        two_weights, two_gradients, two_features = each["steps"]
        torch.testing.assert_close(two_weights, weights, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(two_gradients, gradients, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(two_features, features, atol=1e-6, rtol=1e-6)
    for left, right in zip(found[0]["steps"][0], found[1]["steps"][0], strict=True):
        assert torch.equal(left, right)


def test_flags_values_and_weights_are_agreed_on(found):
    for each in found:
        assert each["any"] == [False, True, True]
        assert [value.tolist() for value in each["broadcast"]] == [[[0.0] * 3] * 2, [0], [True]]
        assert each["sum"].tolist() == [2.0, 1.0]
        assert each["from main"] == {"rank": 0, "text": "ä"}
        assert each["same gradients"].tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_process_0_prepares_first_and_is_waited_for(found):
    first, second = (each["turn"] for each in found)
    assert first[2] <= second[0]
    last_to_arrive = max(each["wait"][0] for each in found)
    assert all(left >= last_to_arrive for _, left in (each["wait"] for each in found))


@pytest.mark.parametrize(
    ("name", "teller", "kind", "text"),
    [
        ("bad_row", 1, "DataError", "row 12 is bad"),
        ("bad_row_while_the_others_wait", 0, "DataError", "row 3 is bad"),
        ("other_data", 1, "UsageError", "has another collection than process 0; give all"),
    ],
)
def test_an_error_in_one_ends_all_with_its_message(name, teller, kind, text, found):
    for rank, each in enumerate(found):
        ended_as, said, silent, seconds = each[name]
        assert ended_as == kind
        assert text in said
        assert said.startswith(f"process {teller} on ") or rank == teller
        assert silent == (rank != teller)  # one line on the terminal of a machine
        assert seconds < 10


def test_a_bug_in_one_ends_all(found):
    assert found[1]["bug"][:3] == ("RuntimeError", "out of memory", False)
    kind, text, silent, seconds = found[0]["bug"]
    assert kind == "ProxyhashError"
    assert text.endswith("unexpected RuntimeError: out of memory")
    assert silent
    assert seconds < 10


def test_an_error_of_all_is_said_once(found):
    for each in found:
        assert each["all_alike"][:2] == ("InterruptedRunError", "stopped in epoch 3")
    assert [each["all_alike"][2] for each in found].count(False) == 1


def test_a_killed_process_ends_all_and_is_named(ended):
    code, errors, found = ended
    kind, text, silent, seconds = found[0]["killed"]
    assert kind == "ProxyhashError"
    assert text.startswith("process 1 of 2 ended without a word: it was killed")
    assert not silent
    assert seconds < 30
    assert code == 1
    assert "Signal 9 (SIGKILL)" in errors


def test_shares_cover_every_row_once():
    for world in (1, 2, 3, 8):
        for rows in (0, 1, 2, 7, 64):
            shares = [range(rows)[Processes(rank, world).share(rows)] for rank in range(world)]
            assert [row for share in shares for row in share] == list(range(rows))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_has_the_gpu_of_its_number():
    third = Processes(5, 8, 1)
    assert (third.device("cpu"), third.device("cuda")) == ("cpu", "cuda:1")
    assert SINGLE.device("cuda:3") == "cuda:3"
    for name in ("cuda:1", "mps"):
        with pytest.raises(UsageError, match=f"device is '{name}', and each of the 8 processes"):
            third.device(name)


def test_one_process_needs_nobody():
    values, module = torch.ones(3, 2, requires_grad=True), torch.nn.Linear(2, 2)
    with open_processes() as processes:
        assert processes is SINGLE
        assert processes.gather(values, 3) is values
        assert processes.parallel(module) is module
        assert processes.any(True)
        assert not processes.any(False)
        assert processes.from_main(lambda: 3) == 3
        assert processes.sum(values) is values
        with processes.in_turn():
            processes.wait()
        processes.check_same({"collection": "a"})


def test_half_of_torchruns_variables_are_refused(monkeypatch):
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    monkeypatch.setitem(os.environ, "RANK", "0")
    sentence = "start them with: torchrun --nproc-per-node 2"
    with pytest.raises(UsageError, match=sentence), open_processes():
        pass
