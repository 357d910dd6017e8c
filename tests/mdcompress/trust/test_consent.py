"""Consent: what is asked, what is remembered, what the environment gives, and what the list of it must be."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from intsnn.errors import UsageError
from mdcompress.trust import GIVEN, REFUSED, NamedCode, import_named
from mdcompress.trust.asking import FileConsent, Trust
from mdcompress.trust.names import place_of
from mdcompress.trust.remembering import Trusted, remember, remembered, trusted_file

NETWORK, DATA = NamedCode("model.builder", "nets:build"), NamedCode("data.name", "loaders:load")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that is the working folder; nothing is trusted yet."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MDCOMPRESS_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("MDCOMPRESS_TRUST")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (folder / "nets.py").write_text("def build(): ...\n")
    return folder


@dataclass
class Terminal:
    """Someone who answers, and what was asked and said."""

    answer: bool
    asked: list[str] = field(default_factory=list)

    def __call__(self, question: str) -> bool:
        self.asked.append(question)
        return self.answer


def consent(
    file: Path,
    *named: NamedCode,
    typed: tuple[NamedCode, ...] = (),
    trust: Trust = Trust.ASKED_FOR,
    ask: Callable[[str], bool] | None = None,
    run: str = "runs/mine",
    said: list[str] | None = None,
) -> FileConsent:
    return FileConsent(
        file,
        named or (NETWORK,),
        frozenset(typed),
        (Path(run),),
        trust,
        ask,
        list[str]().append if said is None else said.append,
    )


def refused(consent: FileConsent, code: NamedCode = NETWORK) -> UsageError:
    with pytest.raises(UsageError) as caught:
        consent.require(code)
    assert caught.value.exit_code == 2
    return caught.value


def test_without_a_terminal_the_error_says_what_names_what_and_what_to_do(project: Path) -> None:
    error = refused(consent(project / "r.yaml", NETWORK, DATA))
    assert error.message == (
        f"{project}/r.yaml names code, and code of a file runs only where you agree: "
        f"model.builder: nets:build ({project}/nets.py); data.name: loaders:load (not found)"
    )
    elsewhere, yes, in_scripts = error.hints
    assert elsewhere.endswith("go to the folder that holds it") and "--trust" in yes
    assert f"MDCOMPRESS_TRUST to the folders whose files you trust, here {project}" in in_scripts
    assert len(refused(consent(project / "r.yaml", NETWORK)).hints) == 2, "what is found needs no other folder"
    assert not trusted_file().exists()


def test_a_yes_is_asked_once_for_all_that_the_file_names_and_remembered_for_its_folder(project: Path) -> None:
    terminal = Terminal(answer=True)
    asking = consent(project / "r.yaml", NETWORK, DATA, ask=terminal)
    asking.require(NETWORK)
    asking.require(DATA)
    assert len(terminal.asked) == 1
    assert all(str(code) in terminal.asked[0] for code in (NETWORK, DATA)) and str(project) in terminal.asked[0]
    consent(project / "other.yaml", NETWORK, DATA).require(DATA)
    consent(project / "runs/mine/recipe.yaml").require(NETWORK)


def test_a_no_is_a_no_and_is_asked_again(project: Path) -> None:
    terminal = Terminal(answer=False)
    for _ in range(2):
        refused(consent(project / "r.yaml", ask=terminal))
    assert len(terminal.asked) == 2 and remembered() == ()


def test_a_changed_recipe_asks_again_for_what_changed(project: Path) -> None:
    consent(project / "r.yaml", trust=Trust.GIVEN).require(NETWORK)
    terminal, other = Terminal(answer=True), NamedCode("model.builder", "os:abort")
    consent(project / "r.yaml", other, ask=terminal).require(other)
    assert "os:abort" in terminal.asked[0]
    refused(consent(project / "r.yaml", NETWORK, DATA), DATA)
    refused(consent(project / "r.yaml", NamedCode("data.name", NETWORK.name)), NamedCode("data.name", NETWORK.name))


def test_the_same_name_in_another_folder_asks_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file that lies elsewhere, nor the folder's own file where the name means other code."""
    consent(project / "r.yaml", trust=Trust.GIVEN).require(NETWORK)
    elsewhere = project.parent / "project2"
    elsewhere.mkdir()
    refused(consent(elsewhere / "r.yaml", run=str(elsewhere / "runs")))
    stranger = project / "stranger"
    stranger.mkdir()
    monkeypatch.chdir(stranger)
    refused(consent(stranger / "r.yaml"))
    refused(consent(project / "r.yaml"))


def test_links_do_not_hide_where_a_file_lies(project: Path) -> None:
    consent(project / "r.yaml", trust=Trust.GIVEN).require(NETWORK)
    outside = project.parent / "outside"
    outside.mkdir()
    (outside / "r.yaml").write_text("")
    (project / "r2.yaml").symlink_to(outside / "r.yaml")
    refused(consent(project / "r2.yaml"))


def test_what_the_command_line_names_runs_and_its_run_keeps_the_consent(project: Path) -> None:
    shipped = project.parent / "package" / "4bit.yaml"
    consent(shipped, NETWORK, DATA, typed=(NETWORK,)).require(NETWORK)
    refused(consent(shipped, NETWORK, DATA, typed=(NETWORK,)), DATA)
    consent(project / "runs/mine/recipe.yaml").require(NETWORK)
    refused(consent(project / "runs/another/recipe.yaml", run="runs/another"))
    refused(consent(shipped, run="runs/another"))


def test_folders_of_the_environment_are_trusted_and_not_remembered(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and the working folder, in which the module is looked for, must both lie in one of them."""
    beside = project.parent / "recipes"
    monkeypatch.setenv("MDCOMPRESS_TRUST", str(beside))
    refused(consent(beside / "r.yaml"))
    monkeypatch.setenv("MDCOMPRESS_TRUST", os.pathsep.join([str(project), str(beside)]))
    consent(beside / "deep/r.yaml").require(NETWORK)
    assert not trusted_file().exists()
    monkeypatch.setenv("MDCOMPRESS_TRUST", str(project))
    refused(consent(beside / "r.yaml"))
    for wrong in ("1", ".", f"{project}{os.pathsep}recipes"):
        monkeypatch.setenv("MDCOMPRESS_TRUST", wrong)
        assert "must be whole paths" in refused(consent(project / "r.yaml")).message


def test_the_list_is_private_and_none_that_others_can_write_is_believed(project: Path) -> None:
    consent(project / "r.yaml", trust=Trust.GIVEN).require(NETWORK)
    path = trusted_file()
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o622)
    assert "no other user may write it" in refused(consent(project / "r.yaml")).message
    path.chmod(0o600)
    path.write_text("{}{")
    assert "must be the list of what you trust" in refused(consent(project / "r.yaml")).message
    path.write_text(json.dumps({"schema": "mdcompress.trusted/2", "trusted": []}))
    assert f"remove {path}" in refused(consent(project / "r.yaml")).hints[0]


def test_what_was_agreed_to_of_a_folder_that_is_gone_is_forgotten(project: Path) -> None:
    gone = project.parent / "gone"
    gone.mkdir()
    remember([NETWORK], [gone], working_folder=gone)
    gone.rmdir()
    remember([DATA], [project], working_folder=project)
    assert remembered() == (Trusted(str(project), str(project), DATA.key, DATA.name),)


def test_a_list_that_cannot_be_written_is_said_and_the_command_goes_on(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "file").write_text("")
    monkeypatch.setenv("MDCOMPRESS_STATE", str(project / "file" / "state"))
    said: list[str] = []
    with pytest.raises(UsageError):
        consent(project / "r.yaml", trust=Trust.GIVEN).require(NETWORK)  # not a folder: the list cannot even be read
    monkeypatch.setenv("MDCOMPRESS_STATE", "/proc/mdcompress")
    asking = consent(project / "r.yaml", trust=Trust.GIVEN, said=said)
    asking.require(NETWORK)
    asking.require(NETWORK)
    assert len(said) == 1 and said[0].startswith("your consent is not remembered: ")


def test_the_working_folder_is_searched_last_and_only_after_consent(project: Path) -> None:
    with pytest.raises(UsageError):
        import_named(NETWORK, REFUSED)
    import_named(NamedCode("model.builder", "mdcompress.zoo:digits_snn"), REFUSED)
    assert str(project) not in sys.path and "nets" not in sys.modules
    assert import_named(NETWORK, GIVEN).build() is None
    assert sys.path[-1] == str(project)
    del sys.modules["nets"]


def test_where_code_would_come_from_is_found_without_running_it(project: Path) -> None:
    package = project / "package_of_a_stranger"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('ran')\n")
    assert place_of(NamedCode("data.name", "package_of_a_stranger.inner:load")) == str(package / "__init__.py")
    assert place_of(NETWORK) == str(project / "nets.py")
    assert place_of(DATA) is None


@pytest.mark.parametrize("name", ["mdcompress.zoo_evil:build", "mdcompress.cli:main", "mdcompress:zoo", "os:abort"])
def test_only_the_shipped_networks_are_our_own(name: str) -> None:
    assert not NamedCode("model.builder", name).is_own
    assert NamedCode("model.builder", "mdcompress.zoo.networks:vgg9").is_own
