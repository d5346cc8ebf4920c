import asyncio
import dataclasses
import sys

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.kafka import topics as catalogue
from app.kafka.embedded_broker import EmbeddedBroker
from app.kafka.topic_admin import TopicsUnavailable, check_topics, create_topics
from app.kafka.topics import Topics

NOBODY_LISTENS = "127.0.0.1:1"


async def test_created_topics_agree_with_the_catalogue(broker, topics):
    assert (await check_topics(broker, topics, deadline_s=60)).is_sound


async def test_a_second_creation_creates_nothing(broker, topics):
    report = await create_topics(broker, topics)
    assert report.created == ()
    assert report.is_sound


async def test_only_missing_topics_are_created(broker, topic_prefix, monkeypatch):
    topics = Topics(topic_prefix)
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "CATALOGUE", catalogue.CATALOGUE[:3])
        await create_topics(broker, topics)
    report = await create_topics(broker, topics)
    assert report.created == tuple(name for name, _ in topics)[3:]


async def test_several_processes_may_create_at_once(broker, topic_prefix):
    topics = Topics(topic_prefix)
    reports = await asyncio.gather(*(create_topics(broker, topics) for _ in range(4)))
    created = [name for report in reports for name in report.created]
    assert sorted(created) == sorted(name for name, _ in topics)


async def test_a_check_names_what_is_missing_and_creates_nothing(broker, topic_prefix):
    topics = Topics(topic_prefix)
    names = tuple(name for name, _ in topics)
    for _ in range(2):
        report = await check_topics(broker, topics, deadline_s=60)
        assert report.missing == names
        assert not report.is_sound


async def test_a_topic_that_differs_is_told_with_both_values(broker, topic_prefix):
    topics = Topics(topic_prefix)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(
                    topics.name("export-plans"),
                    num_partitions=2,
                    replication_factor=1,
                    topic_configs={"retention.ms": "1000", "max.message.bytes": "8388608"},
                ),
                NewTopic(topics.name("export-finished"), num_partitions=6, replication_factor=1),
            ]
        )
    finally:
        await admin.close()
    report = await create_topics(broker, topics)
    told = report.differences
    plans, finished = topics.name("export-plans"), topics.name("export-finished")
    assert f"{plans}: 2 partitions, must be 6" in told
    assert f"{plans}: retention.ms is 1000, must be 604800000" in told
    assert f"{finished}: cleanup.policy is delete, must be compact" in told
    assert not any(line.startswith(topics.name("export-requests")) for line in told)
    assert report.dangers == (
        f"{plans}: 2 partitions, must be 6",
        f"{finished}: cleanup.policy is delete, must be compact",
    )
    assert not report.is_usable


async def create_one(broker, topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.create_topics([topic])
    finally:
        await admin.close()


async def run_topics(broker, topics, *words):
    ran = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "app", "topics", *words),
        *("--broker", broker, "--prefix", topics.prefix),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await ran.communicate()
    return ran.returncode, out.decode()


async def test_the_command_accepts_another_retention_and_a_check_does_not(broker, topic_prefix):
    topics = Topics(topic_prefix)
    plans = topics.name("export-plans")
    kept = {"retention.ms": "1209600000"}
    await create_one(broker, NewTopic(plans, 6, 1, topic_configs=kept))
    for words, status in (((), 0), (("--check",), 1)):
        ended, out = await run_topics(broker, topics, *words)
        assert f"differs: {plans}: retention.ms is 1209600000, must be 604800000" in out
        assert ended == status


async def test_the_command_refuses_a_changelog_that_forgets(broker, topic_prefix):
    topics = Topics(topic_prefix)
    finished = topics.name("export-finished")
    await create_one(broker, NewTopic(finished, 6, 1))
    ended, out = await run_topics(broker, topics)
    assert f"cannot be used: {finished}: cleanup.policy is delete, must be compact" in out
    assert ended == 1


async def test_a_topic_the_broker_refuses_is_named(broker, topic_prefix, monkeypatch):
    broken = dataclasses.replace(catalogue.EXPORT_PLANS, name="not a name")
    monkeypatch.setattr(catalogue, "CATALOGUE", (broken,))
    with pytest.raises(TopicsUnavailable, match="not a name"):
        await create_topics(broker, Topics(topic_prefix), deadline_s=30)


@pytest.mark.parametrize("call", [create_topics, check_topics])
async def test_without_a_broker_the_error_names_its_address(call):
    with pytest.raises(TopicsUnavailable, match=NOBODY_LISTENS):
        await call(NOBODY_LISTENS, Topics(), deadline_s=2)


async def test_a_broker_that_starts_late_is_awaited(tmp_path):
    late = EmbeddedBroker(tmp_path)
    with late:
        port = late.port
    creating = asyncio.create_task(create_topics(f"127.0.0.1:{port}", Topics(), deadline_s=120))
    await asyncio.wait([creating], timeout=0.5)
    assert not creating.done()
    with EmbeddedBroker(tmp_path, port):
        report = await creating
    assert len(report.created) == len(list(Topics()))
    assert report.is_sound
