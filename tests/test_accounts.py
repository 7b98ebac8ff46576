"""Who may log in."""

import asyncio
from pathlib import Path

import pytest

from cnxs import accounts
from cnxs.accounts import Accounts
from cnxs.errors import InputError


def test_a_file_of_plain_and_hashed_passwords_lets_in_whom_it_names(tmp_path: Path) -> None:
    file = tmp_path / "accounts"
    file.write_text(f"# the studio's people\n\nada:{accounts.hashed('lovelace: 1')}\nbob : häuser\n", "utf-8")
    known = Accounts.from_file(file)
    assert known.check("ada", "lovelace: 1")
    assert known.check("bob", "häuser")
    assert not known.check("ada", "häuser")
    assert not known.check("ada", "")
    assert not known.check("eve", "lovelace: 1")
    assert not known.check("", "")
    assert asyncio.run(known.log_in("ada", "lovelace: 1"))


def test_a_hash_tells_no_password_and_no_two_are_alike() -> None:
    assert accounts.hashed("secret") != accounts.hashed("secret")
    assert "secret" not in accounts.hashed("secret")


def test_the_command_line_names_one_account() -> None:
    known = Accounts.from_words("ada:a:b")
    assert known.check("ada", "a:b")


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("", "accounts_empty"),
        ("# nobody\n", "accounts_empty"),
        ("ada\n", "accounts_line"),
        ("ada:1\nada:2\n", "accounts_line"),
        ("ada:\n", "account_incomplete"),
        (":1\n", "account_incomplete"),
        ("ada:scrypt:1\n", "account_hash"),
        ("ada:scrypt:99:8:1:00:00\n", "account_hash"),
        ("ada:scrypt:14:8:1:xy:00\n", "account_hash"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, content: str, key: str) -> None:
    file = tmp_path / "accounts"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        Accounts.from_file(file)
    assert caught.value.key == key


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Accounts.from_file(tmp_path / "nothing")
    assert caught.value.key == "accounts_unreadable"


def test_the_command_prints_a_line_that_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["accounts", "ada"])
    monkeypatch.setattr("getpass.getpass", lambda _: "lovelace")
    accounts.main()
    (tmp_path / "accounts").write_text(capsys.readouterr().out)
    assert Accounts.from_file(tmp_path / "accounts").check("ada", "lovelace")

    answers = iter(["lovelace", "loveless"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    with pytest.raises(SystemExit, match="differ"):
        accounts.main()
