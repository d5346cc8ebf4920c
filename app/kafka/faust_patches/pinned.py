"""The versions and functions that the patches were written for; anything else refuses to start."""

import hashlib
import importlib
import inspect
from importlib.metadata import version
from typing import Any

import faust.streams

from app.domain.errors import ExportServiceError

VERSIONS = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}

# SHA-256 of the source of every function that a patch replaces, wraps or relies on.
DIGESTS = {
    "aiokafka.consumer.consumer:AIOKafkaConsumer.seek_to_committed": (
        "f6cd85c8b70a4ccf7e862de24f6c5d985038eed3e140990f000aa4b52eda8d72"
    ),
    "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": (
        "59bf948fff47eed580671971252454daa614df479733f3bedfefe95bc4d8ad30"
    ),
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": (
        "be4348896b9b66afe048de954e2be91c546f4e96c94cb120d5764ec77ce8f19e"
    ),
    "aiokafka.consumer.group_coordinator:CoordinatorGroupRebalance.perform_group_join": (
        "ff2c2109b2e9868dc23f43643160ea3d87c40093adc03e5e8c9a45c81844ea75"
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._coordination_routine": (
        "75273e127d4a4f5d0d59d76874ad83444defda57a365a89986e91841f39ad22e"
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": (
        "dc1d6632aaa68e964cf71958a17ebd8a807795edccfac52029f37c233e8e70eb"
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._on_join_complete": (
        "0b0b3d204b408f3ce3c3cc7d2168d6425e442c5a074b3f3193a897a510d80594"
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._push_error_to_user": (
        "743ff515bd7e2e380444beb26c502e7484bcc7d2dfc7fda9838d36fa9a7dc37a"
    ),
    "aiokafka.producer.sender:Sender._send_produce_req": (
        "aea01ae4b6c794cc153598ced2d7bc44e5eec2b5407b876bf7535244478446ee"
    ),
    "faust.app.base:App.on_rebalance_start": (
        "5c1e23de3067408219983b59f0cc131e4e61e7e3a221b4c501a32ef1be4e8cd2"
    ),
    "faust.tables.base:Collection.on_rebalance": (
        "0812ad692171a8fd8b3757f2868fa50e195ff1ab3284da50a3200c32fae02932"
    ),
    "faust.tables.recovery:Recovery._add": (
        "1584a197b11bf835c0e3c497952413ce5a5f13078fdd88a9dcfd60ea1e125fa6"
    ),
    "faust.tables.recovery:Recovery._resume_streams": (
        "d986a6710c1aca98f08c4c723fb3eadc5bf24576ad4eb9da3dd3eecedda2f24e"
    ),
    "faust.tables.recovery:Recovery._wait": (
        "ec7429b70176f8c688545780fdd6751714a1fa2ed247a9c0236adf9c99f16a53"
    ),
    "faust.tables.recovery:Recovery.on_rebalance": (
        "aa4d997a1795ceae3880f98311b46935d9ae1a183a699b9a283bb4306bc8641f"
    ),
    "faust.tables.recovery:Recovery.on_recovery_completed": (
        "6ef567acf072e46da3fccbccc6d662371f634f622c3d510972d5df81f70ae3ac"
    ),
    "faust.transport.consumer:Consumer._add_gap": (
        "4df2573ded7c1c2cde04dc6bde6d4480cb5875ef565256e56966b585ae39b1c1"
    ),
    "faust.transport.consumer:Consumer._drain_messages": (
        "44a2500309e83c630493f6828af50166ec8d96a0b3e4fb2bab735f704ae93417"
    ),
    "faust.transport.consumer:Consumer._new_offset": (
        "1d2c7ea89a7ad4f1a216c1d51936e569162cd66bd56f889e13fd29c910b58eb0"
    ),
    "faust.transport.consumer:Consumer._wait_next_records": (
        "6218e1969a636b3ff504ad1b8e7ad58a113572e43d746cc96d684ed5153032c6"
    ),
    "faust.transport.consumer:Consumer.force_commit": (
        "cc094614d22c70fb03606f8e5b940fddedcc7d46648d53ae6ec53cab1546be13"
    ),
    "faust.transport.consumer:Consumer.getmany": (
        "4b168d84882a70d6e3e2f9804430a63b92f8fd117d3187cbb4aeb54305bda34e"
    ),
    "faust.transport.consumer:Consumer.on_partitions_revoked": (
        "d04b7ae72c6fc206924a2879d6c90dd383f3e8ba6f4b10a19ca99a921eb8f4db"
    ),
    "faust.transport.consumer:Consumer.perform_seek": (
        "0e8c130ff4b0afd82c0be9c5fd831316e10febc62c94032833911096e156d7c6"
    ),
    "faust.transport.consumer:Consumer.resume_flow": (
        "db59630f25b5819b092c90649e1046cbea184e91a0aff59368e7747665536dd5"
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": (
        "c2701bfc3e6f6cad95c2be36d6a255a86e2c57d18d36cc1082b5fb5c482d99d7"
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": (
        "39a2c6c79fc1455a199629912b533458a720c64983bc957420a42feef6593baa"
    ),
    "faust.transport.drivers.aiokafka:Producer._new_producer": (
        "e72355c3430ed02f5202c83e2f5ef7daf484f33aa40e62f98fe3adec3e18aa17"
    ),
    "mode.services:Service._crash": (
        "7bc0c709a151d55690d981a28036ae0a9fafd82d670ba10528704559537494e2"
    ),
}

ORIGINALS: dict[str, Any] = {}


class UnknownFaust(ExportServiceError):
    """Another Faust, mode or aiokafka than the patches were written for."""


def original(name: str) -> Any:
    """Find a function as installed, before any patch; remembered at the first call.

    Args:
        name: `module:Class.function`.
    """
    if name not in ORIGINALS:
        module, _, path = name.partition(":")
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        ORIGINALS[name] = found
    return ORIGINALS[name]


def digest_of(function: Any) -> str:
    """SHA-256 of a function's source."""
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()


def check() -> None:
    """Compare versions and sources with the recorded ones.

    Raises:
        UnknownFaust: Something differs; the message says what, and what to do.
    """
    for package, wanted in VERSIONS.items():
        installed = version(package)
        if installed != wanted:
            raise UnknownFaust(
                f"{package} is {installed}, the patches are for {wanted}: install that, or port"
                " app/kafka/faust_patches and its tests"
            )
    if faust.streams._CStreamIterator is None:  # noqa: SLF001 - there is no public sign of it
        raise UnknownFaust(
            "Faust's compiled stream iterator is missing; its Python twin acknowledges otherwise"
        )
    for name, wanted in DIGESTS.items():
        found = digest_of(original(name))
        if found != wanted:
            raise UnknownFaust(f"{name} is not the function that was patched: digest {found}")
