"""Arrivals on a real S3-speaking server: put, multipart and copy; markers; bursts; two at the same time."""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import Any

import pytest

from stepzero.adapters.arrivals import Arrivals, claimed_uris
from stepzero.adapters.store import Store
from support.object_store import BUCKET, Running, object_store

__all__ = ["object_store"]

pytestmark = pytest.mark.service
PREFIX = "landing/abalone_age/"
PART = 5 * 1024**2
"""The smallest part of a multipart upload but the last."""


@pytest.fixture
def s3(object_store: Running, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client, with every variable set by which the product finds the server."""
    for name, value in object_store.variables.items():
        monkeypatch.setenv(name, value)
    return object_store.client()


@pytest.fixture
def arrivals(s3: Any) -> Arrivals:
    """An empty prefix of its own."""
    return Arrivals(Store(f"s3://{BUCKET}/{uuid.uuid4().hex}"), "abalone_age", PREFIX)


def key(arrivals: Arrivals, name: str) -> str:
    return f"{arrivals.store.root.removeprefix(f's3://{BUCKET}/')}/{PREFIX}{name}"


def put(s3: Any, arrivals: Arrivals, name: str, text: str = "9 1:1\n") -> str:
    s3.put_object(Bucket=BUCKET, Key=key(arrivals, name), Body=text.encode())
    return f"{PREFIX}{name}"


def put_in_parts(s3: Any, arrivals: Arrivals, name: str) -> str:
    place = {"Bucket": BUCKET, "Key": key(arrivals, name)}
    upload = s3.create_multipart_upload(**place)["UploadId"]
    parts = []
    for number, body in enumerate((b"9 1:1\n" * (PART // 6 + 1), b"8 1:2\n"), start=1):
        done = s3.upload_part(**place, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": done["ETag"]})
        if number == 1:
            assert arrivals.listing().seen.keys().isdisjoint({f"{PREFIX}{name}"}), "half an upload has not landed"
    s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
    return f"{PREFIX}{name}"


def take(arrivals: Arrivals, run: str) -> list[str]:
    return arrivals.claim(run, arrivals.fresh(arrivals.listing()).values())


def test_put_multipart_and_copy_are_one_manifest_and_come_once(s3: Any, arrivals: Arrivals) -> None:
    landed = [put(s3, arrivals, "put.libsvm"), put_in_parts(s3, arrivals, "parts.libsvm")]
    copied = {"Bucket": BUCKET, "Key": key(arrivals, "put.libsvm")}
    s3.copy_object(Bucket=BUCKET, Key=key(arrivals, "copy.libsvm"), CopySource=copied)
    assert take(arrivals, "one") == sorted([*landed, f"{PREFIX}copy.libsvm"])
    put(s3, arrivals, "put.libsvm")
    assert take(arrivals, "two") == [], "the same object again, with the same ETag"
    put(s3, arrivals, "put.libsvm", "8 1:2\n")
    assert take(arrivals, "three") == [f"{PREFIX}put.libsvm"], "other content under the same key"


def test_markers_and_empty_objects_are_refused(s3: Any, arrivals: Arrivals) -> None:
    s3.put_object(Bucket=BUCKET, Key=key(arrivals, ""), Body=b"")
    s3.put_object(Bucket=BUCKET, Key=key(arrivals, "day/"), Body=b"")
    s3.put_object(Bucket=BUCKET, Key=key(arrivals, "day_$folder$"), Body=b"")
    s3.put_object(Bucket=BUCKET, Key=key(arrivals, "empty.libsvm"), Body=b"")
    listing = arrivals.listing()
    assert listing.seen == {}
    assert set(listing.refused.values()) == {"a folder marker", "empty"}
    assert take(arrivals, "one") == []


def test_of_two_runs_at_once_each_object_has_one(s3: Any, arrivals: Arrivals) -> None:
    landed = [put(s3, arrivals, f"{number}.libsvm", f"{number} 1:1\n") for number in range(25)]
    fresh = arrivals.fresh(arrivals.listing())
    assert sorted(fresh) == sorted(landed)
    begin = threading.Barrier(2)

    def claim(run: str) -> None:
        own = Arrivals(Store(arrivals.store.root), "abalone_age", PREFIX)
        begin.wait()
        own.claim(run, fresh.values())

    threads = [threading.Thread(target=claim, args=(run,)) for run in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, two = (claimed_uris(arrivals.store, "abalone_age", run) for run in ("one", "two"))
    assert sorted([*one, *two]) == sorted(landed), "none lost, none twice"


def test_the_trigger_sees_what_lands_and_sleeps_on(s3: Any, arrivals: Arrivals) -> None:
    from stepzero_airflow.triggers.arrival import ArrivalTrigger

    trigger = ArrivalTrigger(arrivals.store.root, "abalone_age", PREFIX, poll_seconds=0.1, wait_seconds=30)
    uri = put(s3, arrivals, "a.libsvm")

    async def first() -> dict[str, Any]:
        return dict((await anext(aiter(trigger.run()))).payload)

    assert asyncio.run(first()) == {"status": "landed", "uris": [uri], "count": 1}


def test_what_another_overwrote_meanwhile_is_read_as_it_is_now(s3: Any, arrivals: Arrivals) -> None:
    store, uri = arrivals.store, "state/one.json"
    store.write_json(uri, {"state": "starting"})
    assert store.list("state") == [uri]  # s3fs has heard of this one
    place = {"Bucket": BUCKET, "Key": f"{store.path(uri).partition('/')[2]}"}
    s3.put_object(**place, Body=b'{"state": "healthy"}')
    assert store.read_json(uri) == {"state": "healthy"}


def test_what_is_committed_on_s3_is_committed_once(arrivals: Arrivals) -> None:
    store = arrivals.store
    assert store.create("commits/1.json", {"by": "first"})
    assert not store.create("commits/1.json", {"by": "second"}), "refused by the server, and told as such"
    assert store.read_json("commits/1.json") == {"by": "first"}
