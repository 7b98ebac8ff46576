"""Accounts of a studio that is served to others: who may log in. Standard library only.

A file has one line for each user, `name:password` or better `name:scrypt:...`, which `python -m cnxs.accounts NAME`
prints after asking for the password. Empty lines and lines that begin with # say nothing.
"""

import argparse
import asyncio
import getpass
import hashlib
import hmac
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from cnxs import text
from cnxs.errors import InputError, UserError

_MARK = "scrypt:"
_COST = (15, 8, 1)  # log2 of scrypt's n, r, p: about a tenth of a second and 32 MB
_MAX_COST = 2**20  # of n times r: a line of the file may cost no more
_MEMORY = 2**28


class Accounts:
    """Names with what proves them.

    Args:
        secrets_by_name: a plain password, or what `hashed` returned.

    Raises:
        InputError: if a name or a password is empty, or a hash is damaged.
    """

    def __init__(self, secrets_by_name: Mapping[str, str]) -> None:
        # Plain passwords are hashed as well, so that every log-in takes the same time.
        self._hashes: dict[str, str] = {}
        for name, secret in secrets_by_name.items():
            if not name or not secret:
                raise InputError("account_incomplete", name=name or "?")
            if secret.startswith(_MARK):
                _parsed(secret, name=name)
            self._hashes[name] = secret if secret.startswith(_MARK) else hashed(secret)
        self._nobody = hashed(secrets.token_hex())

    @classmethod
    def from_file(cls, path: Path) -> "Accounts":
        """Read a file of accounts.

        Raises:
            InputError: if it cannot be read, has no account, a line without a colon, or a name twice.
        """
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("accounts_unreadable", file=path, reason=str(error)) from error
        found: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            name, colon, secret = (part.strip() for part in line.partition(":"))
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if not colon or name in found:
                raise InputError("accounts_line", file=path.name, line=number)
            found[name] = secret
        if not found:
            raise InputError("accounts_empty", file=path.name)
        return cls(found)

    @classmethod
    def from_words(cls, given: str) -> "Accounts":
        """Read one account from the command line, `name:password`."""
        name, _, password = given.partition(":")
        return cls({name.strip(): password})

    def check(self, name: str, password: str) -> bool:
        """Return whether a password is that of a name. Takes as long for a name that there is not."""
        known = self._hashes.get(name)
        fits = _matches(known or self._nobody, password)
        return known is not None and fits

    async def log_in(self, name: str, password: str) -> bool:
        """Check without holding up the server."""
        return await asyncio.to_thread(self.check, name, password)


def hashed(password: str) -> str:
    """Return `scrypt:log2 n:r:p:salt:key`, the last two in hexadecimal."""
    salt = secrets.token_bytes(16)
    log_n, r, p = _COST
    return f"{_MARK}{log_n}:{r}:{p}:{salt.hex()}:{_key(password, salt, _COST).hex()}"


def _key(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    log_n, r, p = cost
    return hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, n=2**log_n, r=r, p=p, maxmem=_MEMORY)


def _parsed(line: str, *, name: str) -> tuple[tuple[int, int, int], bytes, bytes]:
    try:
        log_n, r, p, salt, key = line.removeprefix(_MARK).split(":")
        cost = (int(log_n), int(r), int(p))
        if not (1 <= cost[0] <= 20 and cost[1] >= 1 and 2 ** cost[0] * cost[1] <= _MAX_COST and 1 <= cost[2] <= 16):
            raise ValueError(line)
        return cost, bytes.fromhex(salt), bytes.fromhex(key)
    except ValueError as error:
        raise InputError("account_hash", name=name) from error


def _matches(line: str, password: str) -> bool:
    cost, salt, key = _parsed(line, name="")
    return hmac.compare_digest(_key(password, salt, cost), key)


def main() -> None:
    """Ask for a password and print the line for the file."""
    parser = argparse.ArgumentParser(prog="python -m cnxs.accounts", description=text.get("cli.accounts"))
    parser.add_argument("name", help=text.get("cli.accounts_name"))
    name = parser.parse_args().name
    try:
        password = getpass.getpass(text.get("cli.accounts_password") + " ")
        if password != getpass.getpass(text.get("cli.accounts_again") + " "):
            raise InputError("accounts_differ")
        if not password or not name.strip() or ":" in name:
            raise InputError("account_incomplete", name=name)
    except UserError as error:
        sys.exit(str(error))
    print(f"{name.strip()}:{hashed(password)}")


if __name__ == "__main__":
    main()
