"""What routes ask for, by type."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from lab.errors import PermissionDeniedError
from lab.runtime import Runtime
from lab.schemas.caller import Caller
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.disconnect import Disconnect
from lab.schemas.scope import Scope
from lab.schemas.user import User

# A missing token is answered by the identity, which says how to get one.
bearer = HTTPBearer(auto_error=False, description="A hub token or an API key.")


def get_runtime(request: Request) -> Runtime:
    """Return the runtime that the app opened at start-up."""
    runtime: Runtime = request.app.state.runtime
    return runtime


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]


async def get_caller(
    request: Request,
    runtime: RuntimeDep,
    sent: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """Return who sent the request."""
    caller: Caller = await request.app.state.identity(
        sent.credentials if sent else None, runtime.database, runtime.cache
    )
    if not caller.user.is_active:
        raise PermissionDeniedError(f"The account `{caller.user.name}` is switched off.")
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]


def require(scope: Scope, caller: Caller) -> User:
    """Return the caller's user, or raise `PermissionDeniedError`."""
    if scope not in caller.scopes:
        have = ", ".join(caller.scopes) or "nothing of the lab's"
        raise PermissionDeniedError(
            f"This needs the scope `{scope}`; the token has {have}. Ask for another token."
        )
    return caller.user


def require_for(turn: ChatTurn, caller: Caller) -> User:
    """Return who asks for the turn; what reads or writes what is stored needs the scope for it."""
    kept = turn.conversation_id is not None or turn.on_disconnect is Disconnect.continue_
    if kept or turn.memory:
        require(Scope.custom_lab_memory, caller)
    return require(Scope.custom_lab_infer, caller)


def _owner_with(scope: Scope) -> Callable[[Caller], Coroutine[Any, Any, User]]:
    async def owner(caller: CallerDep) -> User:
        return require(scope, caller)

    return owner


InferDep = Annotated[User, Depends(_owner_with(Scope.custom_lab_infer))]
"""The caller, who may ask models."""

MemoryDep = Annotated[User, Depends(_owner_with(Scope.custom_lab_memory))]
"""The caller, who may read and write their own memory."""

AdminDep = Annotated[User, Depends(_owner_with(Scope.custom_lab_admin))]
"""The caller, who administers the lab."""
