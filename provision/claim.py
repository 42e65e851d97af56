"""A device's claim as the desk has it: read when it is needed, and only one of the device's own companion."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from provision.errors import SecretError

if TYPE_CHECKING:
    from provision.inventory import Target


def read_claim(target: Target) -> str:
    """Return claim.json as the device gets it, "" for a target without a claim.

    The secret is what `pressel-companion claims new --out` writes. Raises SecretError for one that is no
    claim, or another companion's; never with a word of it.
    """
    if target.claim is None:
        return ""
    name, text = target.claim.name, target.claim.read()
    try:
        claim = json.loads(text)
        url, complete = claim["url"], isinstance(claim["claim"], str)
    except (ValueError, KeyError, TypeError):
        url, complete = None, False
    if not complete:
        raise SecretError(
            f"{name}: {target.claim.source} is no claim: make one with "
            f"pressel-companion claims new {target.name} --out FILE"
        )
    if not is_companion(target, url):
        raise SecretError(f"{name}: it is for {url}, and the device's companion is {_url(target)}")
    return text + "\n"


def is_companion(target: Target, url: object) -> bool:
    """Whether that is the address of the target's companion."""
    return isinstance(url, str) and url.rstrip("/") == _url(target).rstrip("/")


def _url(target: Target) -> str:
    return str(target.config["backend"]["url"])
