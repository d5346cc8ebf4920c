"""Downloads of real files: ranges, validators, and addresses that must not work."""

import asyncio
import email
import os
import shutil
from email.utils import formatdate
from hashlib import sha256

import orjson
import pytest

EXPORT_ID = "e" * 64
ATTEMPT = "1795404000000-17"


@pytest.fixture
def where(package) -> str:
    return f"/downloads/{EXPORT_ID}/{ATTEMPT}/{package.name}"


async def get(client, path: str, method: str = "GET", **headers: str):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, path, headers=names) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_a_package_comes_whole_with_its_sha256_as_etag(client, package, where):
    status, headers, body = await get(client, where)
    assert (status, body) == (200, package.read_bytes())
    assert headers["ETag"] == f'"{sha256(body).hexdigest()}"'
    assert headers["Content-Type"] == "application/geopackage+sqlite3"
    assert headers["Content-Disposition"] == f'attachment; filename="{package.name}"'
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Length"] == "100000"
    assert "Last-Modified" in headers


async def test_a_slow_download_that_began_before_the_package_was_removed_ends_whole(
    client, package, where, export_folder
):
    """Far larger than what socket buffers hold, so most of it is read after the removal."""
    content = os.urandom(1 << 20) * 64
    package.write_bytes(content)
    digest = sha256(content).hexdigest()
    package.with_suffix(".json").write_bytes(orjson.dumps({"sha256": digest}))
    async with client.get(where) as answer:
        assert answer.headers["ETag"] == f'"{digest}"'
        body = bytearray(await answer.content.read(1 << 16))
        freed = await asyncio.to_thread(export_folder.remove_attempt, EXPORT_ID, ATTEMPT)
        assert freed > len(content)
        assert not package.parent.exists()
        async with client.get(where) as late:
            assert late.status == 404
        async for part in answer.content.iter_any():
            body += part
    assert sha256(body).hexdigest() == digest


async def test_head_tells_the_same_without_the_bytes(client, where):
    _, full, _ = await get(client, where)
    status, headers, body = await get(client, where, "HEAD", Range="bytes=0-9")
    assert (status, body) == (200, b"")
    for name in ("ETag", "Content-Type", "Content-Length", "Content-Disposition"):
        assert headers[name] == full[name]


async def test_the_metadata_is_json(client, package, where):
    path = where.removesuffix(".gpkg") + ".json"
    status, headers, body = await get(client, path)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body == package.with_suffix(".json").read_bytes()


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=99990-", 99_990, 99_999),
        ("bytes=-10", 99_990, 99_999),
        ("bytes=50-1000000", 50, 99_999),
        ("bytes=-1000000", 0, 99_999),
        ("BYTES=7-7", 7, 7),
    ],
)
async def test_a_range_is_sent_as_it_was_asked(client, package, where, asked, first, last):
    status, headers, body = await get(client, where, Range=asked)
    assert (status, body) == (206, package.read_bytes()[first : last + 1])
    assert headers["Content-Range"] == f"bytes {first}-{last}/100000"
    assert headers["Content-Length"] == str(last + 1 - first)


@pytest.mark.parametrize("asked", ["bytes=100000-", "bytes=100000-100001", "bytes=-0"])
async def test_a_range_beyond_the_file_is_a_416(client, where, asked):
    async with client.get(where, headers={"Range": asked}) as answer:
        assert answer.status == 416
        assert answer.headers["Content-Range"] == "bytes */100000"
        assert "100000" in (await answer.json())["message"]


@pytest.mark.parametrize(
    "asked", ["bytes=9-5", "bytes=-", "bytes=a-b", "lines=0-1", "", "bytes=²-"]
)
async def test_a_range_that_cannot_be_read_counts_as_none(client, where, asked):
    status, _, body = await get(client, where, Range=asked)
    assert (status, len(body)) == (200, 100_000)


async def test_if_range_holds_for_the_same_bytes_only(client, package, where):
    _, headers, _ = await get(client, where)
    etag, modified = headers["ETag"], headers["Last-Modified"]
    older = formatdate(package.stat().st_mtime - 86_400, usegmt=True)
    newer = formatdate(package.stat().st_mtime + 86_400, usegmt=True)
    for condition, expected in (
        (etag, 206),
        (modified, 206),
        ('"another"', 200),
        (f"W/{etag}", 200),
        (older, 200),
        (newer, 200),
        ("nonsense", 200),
    ):
        status, _, _ = await get(client, where, Range="bytes=0-9", If_Range=condition)
        assert status == expected, condition


async def test_who_has_the_bytes_gets_a_304(client, package, where):
    _, headers, _ = await get(client, where)
    for condition in (headers["ETag"], f"W/{headers['ETag']}", f'"x", {headers["ETag"]}', "*"):
        status, told, body = await get(client, where, If_None_Match=condition)
        assert (status, body) == (304, b"")
        assert told["ETag"] == headers["ETag"]
    assert (await get(client, where, If_None_Match='"x"'))[0] == 200
    assert (await get(client, where, If_Modified_Since=headers["Last-Modified"]))[0] == 304
    later = formatdate(package.stat().st_mtime - 86_400, usegmt=True)
    assert (await get(client, where, If_Modified_Since=later))[0] == 200


async def test_if_match_of_other_bytes_is_a_412(client, where):
    _, headers, _ = await get(client, where)
    assert (await get(client, where, If_Match=headers["ETag"]))[0] == 200
    assert (await get(client, where, If_Match='"another"'))[0] == 412


async def test_headers_that_are_no_ascii_do_no_harm(client, where):
    assert (await get(client, where, X_Odd="\udcff\udcfe", Range="bytes=0-1"))[0] == 206


BAD_ADDRESSES = [
    f"{EXPORT_ID}/{ATTEMPT}/nothing.gpkg",
    f"{'f' * 64}/{ATTEMPT}/x.gpkg",
    f"{EXPORT_ID}/{ATTEMPT}/",
    f"{EXPORT_ID}/{ATTEMPT}",
    f"{EXPORT_ID}/{ATTEMPT}/secret",
    f"{EXPORT_ID}/{ATTEMPT}/.secret.gpkg",
    f"{EXPORT_ID}/{ATTEMPT}/shard.sqlite",
    f"{EXPORT_ID}/{ATTEMPT}/..%2f..%2f..%2fsecret.json",
    f"{EXPORT_ID}/{ATTEMPT}/%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.json",
    f"{EXPORT_ID}/{ATTEMPT}/..%5c..%5csecret.json",
    f"{EXPORT_ID}/{ATTEMPT}/..\\..\\secret.json",
    f"{EXPORT_ID}/{ATTEMPT}/%252e%252e%252fsecret.json",
    f"{EXPORT_ID}/{ATTEMPT}/secret.json%00.gpkg",
    f"{EXPORT_ID}/{ATTEMPT}/%00.gpkg",
    f"{EXPORT_ID}/{ATTEMPT}/a%0d%0aSet-Cookie:x.gpkg",
    f"{EXPORT_ID}/../../secret.json",
    f"{EXPORT_ID}/..%2f../secret.json",
    f"{EXPORT_ID}/%2e%2e/secret.json",
    "..%2f..%2f..%2fetc/passwd/x.json",
    "%2e%2e/%2e%2e/secret.json",
    "../../secret.json",
    "..;/..;/secret.json",
    "%2fetc/1-1/passwd.json",
    "%c0%ae%c0%ae/1-1/secret.json",
    f"{EXPORT_ID.upper()}/{ATTEMPT}/x.gpkg",
    f"{EXPORT_ID}/{ATTEMPT}/{'a' * 5000}.gpkg",
]


async def raw_get(port: int, path: str) -> bytes:
    """Ask by hand: clients tidy an address up before they send it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"GET /downloads/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_no_address_leads_out_of_the_store(client, settings, package, port):
    (settings.data_dir / "secret.json").write_text("secret")
    (settings.exports_dir / "secret.json").write_text("secret")
    (package.parent / ".secret.gpkg").write_text("secret")
    (package.parent / "secret").write_text("secret")
    (package.parent / "shard.sqlite").write_text("secret")
    for path in BAD_ADDRESSES:
        answer = await raw_get(port, path)
        assert answer.split()[1] == b"404", path
        assert b'{"message":' in answer, path
        assert b"\r\n\r\nsecret" not in answer, path


async def test_a_download_goes_on_after_the_file_is_unlinked(client, package, where):
    package.write_bytes(os.urandom(30_000_000))
    whole = sha256(package.read_bytes()).hexdigest()
    async with client.get(where) as answer:
        digest = sha256(await answer.content.readexactly(1000))
        package.unlink()
        async for chunk in answer.content.iter_any():
            digest.update(chunk)
    assert digest.hexdigest() == whole
    assert (await get(client, where))[0] == 404


async def test_without_its_metadata_a_package_is_not_offered(client, package, where):
    package.with_suffix(".json").unlink()
    assert (await get(client, where))[0] == 404


async def test_metadata_that_cannot_be_read_means_another_validator(client, package, where):
    package.with_suffix(".json").write_text("{")
    status, headers, _ = await get(client, where)
    assert status == 200
    assert headers["ETag"] != f'"{sha256(package.read_bytes()).hexdigest()}"'


def parts_of(headers, body):
    """The parts of a multipart/byteranges answer, read by the standard library."""
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body)
    assert message.is_multipart()
    return [
        (part["Content-Type"], part["Content-Range"], part.get_payload(decode=True))
        for part in message.get_payload()
    ]


async def test_several_ranges_come_as_parts_in_the_order_they_were_asked(client, package, where):
    status, headers, body = await get(client, where, Range="bytes=50-59, 0-0,-3, 99990-")
    assert status == 206
    assert headers["Content-Length"] == str(len(body))
    assert headers["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert "Content-Range" not in headers
    content = package.read_bytes()
    media_type = "application/geopackage+sqlite3"
    assert parts_of(headers, body) == [
        (media_type, "bytes 50-59/100000", content[50:60]),
        (media_type, "bytes 0-0/100000", content[:1]),
        (media_type, "bytes 99997-99999/100000", content[-3:]),
        (media_type, "bytes 99990-99999/100000", content[99_990:]),
    ]
    for name in ("ETag", "Last-Modified", "Content-Disposition", "Accept-Ranges"):
        assert headers[name] == (await get(client, where))[1][name]


async def test_a_connection_serves_on_after_several_ranges(client, port, where):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ask = f"GET {where} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=%s\r\n%s\r\n"
    writer.write((ask % ("0-9,20-29", "") + ask % ("7-8", "Connection: close\r\n")).encode())
    async with asyncio.timeout(60):
        answers = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answers.count(b"HTTP/1.1 206") == 2
    assert answers.endswith(b"\r\n\r\n\x07\x08")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=5-9,200000-", 5, 9), ("bytes=,5-9,", 5, 9), ("bytes=-0,-2", 99_998, 99_999)],
)
async def test_one_range_that_is_left_of_several_is_no_part(
    client, package, where, asked, first, last
):
    status, headers, body = await get(client, where, Range=asked)
    assert (status, body) == (206, package.read_bytes()[first : last + 1])
    assert headers["Content-Range"] == f"bytes {first}-{last}/100000"


async def test_several_ranges_that_are_all_beyond_the_file_are_a_416(client, where):
    async with client.get(where, headers={"Range": "bytes=100000-,200000-200001"}) as answer:
        assert answer.status == 416
        assert answer.headers["Content-Range"] == "bytes */100000"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5",
        "bytes=0-1;5-6",
        "bytes=,",
        "bytes=0-,0-,0-",
        "bytes=0-99999,0-0",
        "bytes=" + ",".join(["0-0"] * 101),
    ],
    ids=["no range", "no comma", "none", "three times all", "more than all", "101 ranges"],
)
async def test_several_ranges_that_are_no_use_count_as_none(client, where, asked):
    status, _, body = await get(client, where, Range=asked)
    assert (status, len(body)) == (200, 100_000)


async def test_a_hundred_ranges_are_sent(client, package, where):
    asked = "bytes=" + ",".join(f"{1000 * n}-{1000 * n + 9}" for n in range(100))
    status, headers, body = await get(client, where, Range=asked)
    assert status == 206
    content = package.read_bytes()
    sent = [part for _, _, part in parts_of(headers, body)]
    assert sent == [content[1000 * n : 1000 * n + 10] for n in range(100)]


async def test_if_range_of_other_bytes_sends_all_instead_of_several_ranges(client, where):
    _, headers, _ = await get(client, where)
    asked = {"Range": "bytes=0-0,5-5"}
    assert (await get(client, where, **asked, If_Range=headers["ETag"]))[0] == 206
    assert (await get(client, where, **asked, If_Range='"another"'))[0] == 200


async def test_a_package_changed_since_a_time_is_a_412(client, package, where):
    written = package.stat().st_mtime
    later, earlier = (formatdate(written + days * 86_400, usegmt=True) for days in (1, -1))
    assert (await get(client, where, If_Unmodified_Since=later))[0] == 200
    assert (await get(client, where, If_Unmodified_Since=earlier))[0] == 412
    _, headers, _ = await get(client, where)
    etag = headers["ETag"]
    assert (await get(client, where, If_Unmodified_Since=earlier, If_Match=etag))[0] == 200


@pytest.mark.skipif(not hasattr(os, "sendfile"), reason="this platform has no sendfile")
@pytest.mark.parametrize(
    ("asked", "size"),
    [("", 30_000_000), ("bytes=1000-", 29_999_000), ("bytes=0-9,50-", 29_999_960)],
)
async def test_bytes_go_from_the_file_to_the_socket_without_being_copied(
    client, package, where, monkeypatch, asked, size
):
    package.write_bytes(os.urandom(30_000_000))
    sent = 0
    real = os.sendfile

    def counted(*arguments):
        nonlocal sent
        count = real(*arguments)
        sent += count
        return count

    monkeypatch.setattr(os, "sendfile", counted)
    status, _, body = await get(client, where, Range=asked)
    assert status == (206 if asked else 200)
    assert len(body) >= size
    assert sent == size


async def test_who_leaves_in_the_middle_of_several_ranges_harms_nobody(client, package, where):
    package.write_bytes(os.urandom(30_000_000))
    async with client.get(where, headers={"Range": "bytes=0-14999999,15000000-"}) as answer:
        assert answer.status == 206
        await answer.content.readexactly(1000)
        answer.close()
    assert (await get(client, where, Range="bytes=0-0"))[0] == 206


async def curl(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec("curl", "--silent", *arguments)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_goes_on_where_a_download_broke_off(
    client, package, where, port, tmp_path, eventually
):
    package.write_bytes(os.urandom(60_000_000))
    address, target = f"http://127.0.0.1:{port}{where}", tmp_path / "part.gpkg"
    first = await curl("--output", str(target), "--limit-rate", "1M", address)
    await eventually(lambda: target.exists() and target.stat().st_size > 100_000, deadline_s=30)
    first.terminate()
    await first.wait()
    broken_off = target.stat().st_size
    assert broken_off < 60_000_000
    head = tmp_path / "head"
    second = await curl(
        *("--output", str(target), "--continue-at", "-", "--dump-header", str(head), address)
    )
    async with asyncio.timeout(300):
        assert await second.wait() == 0
    assert sha256(target.read_bytes()).digest() == sha256(package.read_bytes()).digest()
    assert f"Content-Range: bytes {broken_off}-59999999/60000000" in head.read_text()


async def test_a_package_that_is_no_longer_there_is_gone(
    client, peer, say, where, package, golden, eventually
):
    peer.script = lambda asked: [
        say.progress(asked),
        say.export(18, "Completed"),
        say.finished(asked.request_id),
    ]
    async with client.post("/create", json=golden) as answer:
        assert answer.status == 200
    assert (await get(client, where))[0] == 200
    package.unlink()

    async def is_gone() -> bool:
        return (await get(client, where))[0] == 410

    await eventually(is_gone)
    metadata = where.removesuffix(".gpkg") + ".json"
    for path in (where, metadata):
        for method in ("GET", "HEAD"):
            assert (await get(client, path, method))[0] == 410
    async with client.get(where) as answer:
        assert "expired or was deleted" in (await answer.json())["message"]
    for other in (
        where.replace("BLUE", "GREEN"),
        f"{metadata}.aux",
        where[:-5],
        f"{where}-journal",
    ):
        assert (await get(client, other))[0] == 404
