"""Addresses of this machine, which no proxy is asked for."""

from __future__ import annotations

from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def without_proxy(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let nobody ask a proxy for an address of this machine; what is excepted stays so.

    `bin/_bootstrap.py` does the same for what the tests ask themselves; it can import nothing of ours.
    """
    excepted = [each.strip() for each in (variables.get("no_proxy") or variables.get("NO_PROXY") or "").split(",")]
    if "*" in excepted:
        return {}
    told = ",".join(dict.fromkeys([*filter(None, excepted), *LOOPBACK]))
    return {"no_proxy": told, "NO_PROXY": told}
