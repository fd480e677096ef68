"""What happens where no browser is installed: tests say so, and CI does not let that pass."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser import NAMES, chromium

CI = Path(__file__).parents[1] / ".ci"


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that programs are looked for in; without a browser."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PROXYHASH_REQUIRE_BROWSER", raising=False)
    return tmp_path


def install(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/browser` where these programs and no others are found."""
    bash = shutil.which("bash", path="/bin:/usr/bin:/usr/local/bin")
    assert bash is not None
    for name, script in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!{bash}\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
    return subprocess.run(
        [bash, CI / "browser"], capture_output=True, text=True, check=False, timeout=30
    )


def test_without_a_browser_the_test_is_skipped_with_the_command(empty_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        chromium()


def test_in_ci_it_fails_instead(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PROXYHASH_REQUIRE_BROWSER=1 make test </dev/null" in (CI / "run").read_text()
    monkeypatch.setenv("PROXYHASH_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        chromium()


def test_root_gets_it_from_apt(empty_path: Path) -> None:
    asked = empty_path / "asked"
    done = install(empty_path, id="echo 0", apt_get=f'echo "$@" >> {asked}; read && exit 1; exit 0')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    update, add = asked.read_text().splitlines()
    assert update.startswith("update")
    assert add.startswith("install ")
    assert add.endswith(" chromium-headless-shell")


def test_a_distribution_without_the_headless_shell_has_chromium(empty_path: Path) -> None:
    done = install(empty_path, id="echo 0", apt_get='case "$*" in *shell) exit 100;; esac')
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "programs",
    [
        {"id": "echo 1000", "apt_get": "touch asked"},
        {"id": "echo 0"},
        {"id": "echo 0", "apt_get": "exit 100"},
    ],
    ids=["not root", "no apt-get", "apt-get fails"],
)
def test_elsewhere_one_sentence_says_how(
    empty_path: Path, monkeypatch: pytest.MonkeyPatch, programs: dict[str, str]
) -> None:
    monkeypatch.chdir(empty_path)
    done = install(empty_path, **programs)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert "sudo apt-get install chromium" in done.stdout
    assert not Path("asked").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_browser_that_is_there_is_taken(empty_path: Path, name: str) -> None:
    done = install(empty_path, **{name: "exit 1"}, id="echo 0", apt_get="exit 100")
    assert (done.returncode, done.stdout) == (0, "")
    assert chromium() == str(empty_path / name)
