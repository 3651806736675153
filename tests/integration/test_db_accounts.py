"""Users, passwords, keys: who may come in."""

from datetime import UTC, datetime, timedelta

import pytest

from lab.db import Database
from lab.errors import AuthenticationError, InputError, NotFoundError
from lab.schemas.caller import Caller
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.scope import Scope
from lab.schemas.user import User

pytestmark = pytest.mark.integration


async def test_a_user_is_made_once(database: Database) -> None:
    async with database.accounts() as accounts:
        first = await accounts.get_or_create("ann", is_admin=True)
    async with database.accounts() as accounts:
        again = await accounts.get_or_create("ann")
        everyone = await accounts.list()

    assert first == again
    assert first.is_admin
    assert everyone == [first]


async def test_a_user_is_found_by_name_and_by_id(database: Database, owner: User) -> None:
    async with database.accounts() as accounts:
        assert await accounts.get("ann") == await accounts.get_by_id(owner.id) == owner
        with pytest.raises(NotFoundError, match="No user `carl`"):
            await accounts.get("carl")


@pytest.mark.parametrize("name", ["", "Ann", "-ann", "a b", "a" * 65, "ann\x00"])
async def test_a_name_that_the_schema_forbids_is_refused(database: Database, name: str) -> None:
    with pytest.raises(InputError):
        async with database.accounts() as accounts:
            await accounts.get_or_create(name)


async def test_only_the_right_password_opens(database: Database, owner: User) -> None:
    async with database.accounts() as accounts:
        assert await accounts.check_password("ann", "") is None
        await accounts.set_password("ann", "correct horse")

    async with database.accounts() as accounts:
        assert await accounts.check_password("ann", "correct horse") == owner
        assert await accounts.check_password("ann", "wrong") is None
        assert await accounts.check_password("carl", "correct horse") is None


async def test_an_inactive_user_stays_out(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        _, secret = await stores.api_keys.create("mine", [Scope.custom_lab_infer])
    async with database.accounts() as accounts:
        await accounts.set_password("ann", "pw")
        await accounts.update("ann", is_active=False)

        assert await accounts.check_password("ann", "pw") is None
        with pytest.raises(AuthenticationError, match="may not log in"):
            await accounts.user_of_key(secret)


async def test_the_first_admin_gets_a_password_once(database: Database) -> None:
    async with database.accounts() as accounts:
        password = await accounts.ensure_admin("admin")
    async with database.accounts() as accounts:
        assert await accounts.ensure_admin("admin") is None
        assert password is not None
        admin = await accounts.check_password("admin", password)

    assert admin is not None
    assert admin.is_admin


async def test_a_key_names_its_user_and_scopes(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        key, secret = await stores.api_keys.create("mine", [Scope.custom_lab_memory])
    async with database.accounts() as accounts:
        caller = await accounts.user_of_key(secret)
    async with database.stores(owner.id) as stores:
        used = await stores.api_keys.get(key.id)

    assert caller == Caller(user=owner, scopes=[Scope.custom_lab_memory])
    assert secret.startswith(key.prefix)
    assert key.last_used_at is None
    assert used.last_used_at is not None


async def test_an_unknown_an_old_and_a_deleted_key_are_refused(
    database: Database, owner: User
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    async with database.stores(owner.id) as stores:
        _, old = await stores.api_keys.create("old", [], expires_at=past)
        key, deleted = await stores.api_keys.create("gone", [])
        await stores.api_keys.delete(key.id)

    async with database.accounts() as accounts:
        for secret in ("lab_guess", old, deleted):
            with pytest.raises(AuthenticationError):
                await accounts.user_of_key(secret)


async def test_runs_left_open_by_a_killed_process_are_closed(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        left = await stores.runs.create(RunKind.chat, "lab-tiny", {})
        done = await stores.runs.create(RunKind.chat, "lab-tiny", {})
        await stores.runs.update(done.id, status=RunStatus.completed)
    async with database.accounts() as accounts:
        assert await accounts.mark_interrupted() == 1
    async with database.stores(owner.id) as stores:
        closed = await stores.runs.get(left.id)

        assert closed.status is RunStatus.interrupted
        assert closed.finished_at is not None
        assert (await stores.runs.get(done.id)).status is RunStatus.completed


async def test_deleting_a_user_deletes_all_that_they_own(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        conversation = await stores.conversations.create("chat")
    async with database.accounts() as accounts:
        await accounts.delete("ann")
    async with database.stores(owner.id) as stores:
        with pytest.raises(NotFoundError):
            await stores.conversations.get(conversation.id)
