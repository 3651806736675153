"""Documents that programs keep for a user, as the Agent Protocol has them."""

import pytest

from tests.api_server import Api

pytestmark = pytest.mark.integration

ITEMS = "/v1/store/items"


async def test_documents_are_kept_found_and_deleted_by_their_owner_alone(
    api: Api, ann: str, bob: str
) -> None:
    kept = [
        (["notes"], "a", {"kind": "idea", "n": 1}),
        (["notes", "old"], "a", {"kind": "idea", "n": 2}),
        (["tasks"], "b", {"kind": "task"}),
    ]
    async with api.client(ann) as hers, api.client(bob) as his:
        for namespace, key, value in kept:
            body = {"namespace": namespace, "key": key, "value": value}
            assert (await hers.put(ITEMS, json=body)).status_code == 204
        await hers.put(ITEMS, json={"namespace": ["notes"], "key": "a", "value": {"n": 3}})
        notes = {"key": "a", "namespace": ["notes"]}
        found = (await hers.get(ITEMS, params=notes)).json()
        search = {"namespace_prefix": ["notes"], "filter": {"kind": "idea"}}
        ideas = (await hers.post(f"{ITEMS}/search", json=search)).json()["items"]
        everything = (await hers.post(f"{ITEMS}/search", json={})).json()["items"]
        names = [
            (await hers.post("/v1/store/namespaces", json=asked)).json()
            for asked in ({}, {"max_depth": 1}, {"suffix": ["old"]}, {"prefix": ["tasks"]})
        ]
        theirs = [
            (await his.get(ITEMS, params=notes)).status_code,
            (await his.request("DELETE", ITEMS, json=notes)).status_code,
            (await his.post(f"{ITEMS}/search", json={})).json()["items"],
            (await his.post("/v1/store/namespaces", json={})).json(),
        ]
        gone = [(await hers.request("DELETE", ITEMS, json=notes)).status_code for _ in range(2)]
        refused = [
            (await hers.put(ITEMS, json={"namespace": wide, "key": "a", "value": {}})).status_code
            for wide in (["x"] * 9, ["x" * 65])
        ]

    assert found["value"] == {"n": 3}
    assert found["updated_at"] > found["created_at"]
    assert [item["value"] for item in ideas] == [{"kind": "idea", "n": 2}]
    assert [item["key"] for item in everything] == ["a", "b", "a"]
    assert names == [
        [["notes"], ["notes", "old"], ["tasks"]],
        [["notes"], ["tasks"]],
        [["notes", "old"]],
        [["tasks"]],
    ]
    assert theirs == [404, 404, [], []]
    assert (gone, refused) == ([204, 404], [400, 400])
