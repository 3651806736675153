import httpx
import pytest

from tests.stack import RunningStack

pytestmark = pytest.mark.integration


async def test_login_lands_on_a_page_that_leads_everywhere(stack: RunningStack) -> None:
    async with stack.visitor(stack.admin, stack.password) as admin:
        assert admin.landing.url.path == "/hub/home"
        for place in ("/services/dashboards/voila/render/chat.ipynb", "/services/api/docs"):
            assert f'href="{place}"' in admin.landing.text
        assert 'id="open-lab"' in admin.landing.text


async def test_a_wrong_password_is_refused(stack: RunningStack) -> None:
    async with stack.visitor(stack.admin, "wrong") as nobody:
        assert nobody.landing.status_code == 403
        assert "Invalid username or password" in nobody.landing.text


async def test_a_person_added_on_the_command_line_logs_in(stack: RunningStack) -> None:
    password = stack.add_user("grace")

    async with stack.visitor("grace", password) as grace:
        me = (await grace.hub("GET", "/user")).json()

    assert me["admin"] is False
    assert "custom:lab:infer" in me["scopes"]
    assert "custom:lab:memory" in me["scopes"]
    assert "custom:lab:admin" not in me["scopes"]


async def test_the_administrator_may_administer(stack: RunningStack) -> None:
    async with stack.visitor(stack.admin, stack.password) as admin:
        me = (await admin.hub("GET", "/user")).json()

    assert me["admin"] is True
    assert "custom:lab:admin" in me["scopes"]


async def test_the_api_takes_the_hubs_tokens_by_their_scopes(stack: RunningStack) -> None:
    async with stack.visitor(stack.admin, stack.password) as admin:
        full = await admin.token()
        foreign = await admin.token("read:users:name!user")

    async with httpx.AsyncClient(base_url=f"{stack.url}/services/api") as api:
        statuses = [
            (await api.get("/v1/models", headers={"Authorization": f"Bearer {token}"})).status_code
            for token in (full, foreign, "garbage")
        ]
        anonymous = await api.get("/v1/models")

    assert statuses == [200, 403, 401]
    assert anonymous.status_code == 401


async def test_nobody_sees_a_dashboard_without_login(stack: RunningStack) -> None:
    async with httpx.AsyncClient(base_url=stack.url, follow_redirects=True) as anonymous:
        page = await anonymous.get("/services/dashboards/voila/render/chat.ipynb")

    assert page.url.path == "/hub/login"
