"""Keys and tokens: which are honoured, for how long, and that no error repeats one."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.gateway.world import KEY, World


async def status(world: World, credential: str | None) -> tuple[int, str]:
    headers = {} if credential is None else {"authorization": credential}
    reply = await world.http.get("/v1/models", headers=headers)
    return reply.status, (await reply.json()).get("error", {}).get("message", "")


async def test_a_good_key_is_honoured(world: World) -> None:
    assert (await status(world, f"Bearer {KEY}"))[0] == 200


@pytest.mark.parametrize(
    "credential",
    [
        "Bearer llmops_shop.app.wrong",
        "Bearer llmops_shop.nobody.x",
        "Bearer llmops_",
        "Bearer llmops_shop.app",
        "Bearer not-a-token",
        "Bearer ",
        "Basic abc",
        "",
        "Bearer a.b.c",
    ],
)
async def test_a_bad_credential_is_a_401_that_does_not_repeat_it(world: World, credential: str) -> None:
    code, message = await status(world, credential)
    assert code == 401
    assert len(credential) < 15 or credential.removeprefix("Bearer ") not in message


async def test_a_copied_hash_opens_nothing(world: World) -> None:
    """The hash stands in another object, whose name the key does not carry."""
    made = world.add_key(KEY, name="thief")
    world.objects["keys"] = [made]
    world.apply()
    assert (await status(world, f"Bearer {KEY}"))[0] == 401


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"disabled": True}, "is disabled"),
        (
            {"keys": [{"sha256": hashlib.sha256(KEY.encode()).hexdigest(), "expiresAt": "2020-01-01T00:00:00Z"}]},
            "expired",
        ),
    ],
)
async def test_a_key_that_ended_says_how(world: World, spec: dict[str, Any], says: str) -> None:
    world.add_key(KEY, **spec)
    world.apply()
    code, message = await status(world, f"Bearer {KEY}")
    assert code == 401
    assert says in message


async def test_keys_age_while_the_api_server_is_away(world: World) -> None:
    world.door.heard_at -= 899
    assert (await status(world, f"Bearer {KEY}"))[0] == 200
    world.door.heard_at -= 2
    code, message = await status(world, f"Bearer {KEY}")
    assert code == 503
    assert "has not heard from the API server for 15 minutes" in message


async def test_a_service_accounts_token_is_an_identity(world: World) -> None:
    for _ in range(2):  # the second time from memory
        assert (await status(world, f"Bearer {world.token()}"))[0] == 200


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"audience": "https://kubernetes.default.svc"}, "another audience"),
        ({"seconds": -10.0}, "has expired"),
        ({"signing": ec.generate_private_key(ec.SECP256R1())}, "not good for this cluster"),
    ],
)
async def test_a_token_for_somebody_else_is_refused(world: World, options: dict[str, Any], says: str) -> None:
    code, message = await status(world, f"Bearer {world.token(**options)}")
    assert code == 401
    assert says in message
