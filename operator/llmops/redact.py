"""What of a text tells who somebody is, or opens a door, replaced by its kind: `write to [email], card [card]`. Pure.

email     an address
card      a payment card's number: 13 to 19 digits whose last is right (ISO/IEC 7812-1, Luhn)
iban      an account's number whose check digits are right (ISO 13616)
phone     a number with a country's or an area's code before it: +49 30 901820, (030) 901820, 555-123-4567
ssn       a US social security number
ip        an IPv4 or IPv6 address
secret    a key or token of the well-known forms, a JSON Web Token, a PEM private key, a password in an address

Found are forms, not meanings: names of people, streets and companies stay, and so does what is written in words. Every
pattern is bounded, so that a text costs time in proportion to its length whatever is in it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

_SECRETS = (
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s]{0,8000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
    r"\beyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{0,2000}",
    r"\bllmops_[a-z0-9-]{1,63}\.[a-z0-9.-]{1,63}\.[A-Za-z0-9_-]{8,200}",
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,200}",
    r"\b(?:ghp|gho|ghu|ghs|ghr|glpat|hf|xoxb|xoxp)[_-][A-Za-z0-9_-]{16,200}",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"(?<=://)[^\s/:@]{1,64}:[^\s/@]{1,128}(?=@)",
)
_AFTER_A_CODE = r"(?<![\w+.,])(?<!\d )(?:\+|\(?0\d)[\d ()/.-]{6,20}\d(?!\w)"
_FOUND: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("secret", re.compile("|".join(_SECRETS))),
    ("email", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b")),
    ("card", re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])")),
    ("ssn", re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")),
    ("ip", re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]{3,39})(?![\w:]|\.\d)")),
    ("phone", re.compile(_AFTER_A_CODE + r"|(?<![\w-])\d{3}[ .-]\d{3}[ .-]\d{4}(?![\w-])")),
)


def redact(text: str) -> str:
    """The text, with what was found in it named and gone."""
    for kind, pattern in _FOUND:
        holds = _HOLDS.get(kind)
        text = pattern.sub(lambda found, kind=kind, holds=holds: _named(found[0], kind, holds), text)  # type: ignore[misc]
    return text


def redact_all(value: Any) -> Any:
    """Every text in a JSON value; keys are the program's, and stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: redact_all(one) for name, one in value.items()}
    return [redact_all(one) for one in value] if isinstance(value, list) else value


def _named(found: str, kind: str, holds: Callable[[str], bool] | None) -> str:
    return f"[{kind}]" if holds is None or holds(found) else found


def _card(text: str) -> bool:
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [2 * one - 9 * (one > 4) for one in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 and any(digits)


def _iban(text: str) -> bool:
    plain = text.replace(" ", "")
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def _ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _phone(text: str) -> bool:
    return 9 <= sum(one.isdigit() for one in text) <= 15


_HOLDS: Mapping[str, Callable[[str], bool]] = {"card": _card, "iban": _iban, "ip": _ip, "phone": _phone}
