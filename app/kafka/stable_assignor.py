"""Who gets which partition, decided by names alone, for the embedded broker.

A static member that restarts gets a new member id. When it is the group's leader, Kafka keeps the
assignment as it was. The embedded broker asks the leader for a new one, stores it, and does not
tell the other members: measured with three workers, two of them then held the same partitions and
two partitions had nobody. An assignment that depends on nothing but the instance names comes out
the same, so nobody needs to be told. When members come or go, the broker does rebalance everyone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from faust.assignor.client_assignment import ClientAssignment
from faust.assignor.partition_assignor import PartitionAssignor


class StableTaskAssignor(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types that mypy follows
    """Partition p of every topic goes to member p modulo n, members in the order of their names.

    For apps without tables.
    """

    name = "stable"
    version = 0

    def __init__(self, identity: str) -> None:
        """Remember our name.

        Args:
            identity: Unique in the group, and the same after a restart.
        """
        self._identity = identity.encode()

    def metadata(self, topics: Iterable[str]) -> Any:
        """Tell the leader our topics and our name."""
        return ConsumerProtocolMemberMetadata(self.version, list(topics), self._identity)

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        """Share out the partitions, as the leader.

        Args:
            cluster: Knows the partitions of a topic.
            members: Metadata by member id.

        Returns:
            The assignment by member id.
        """
        by_name = sorted(members, key=lambda member_id: bytes(members[member_id].user_data))
        shares: dict[str, dict[str, list[int]]] = {member_id: {} for member_id in members}
        for topic in sorted(
            {topic for member in members.values() for topic in member.subscription}
        ):
            takers = [m for m in by_name if topic in members[m].subscription]
            for partition in sorted(cluster.partitions_for_topic(topic) or ()):
                taker = takers[partition % len(takers)]
                shares[taker].setdefault(topic, []).append(partition)
        return {
            member_id: ConsumerProtocolMemberAssignment(self.version, sorted(share.items()), b"")
            for member_id, share in shares.items()
        }

    def on_assignment(self, assignment: Any) -> None:
        """Nothing is kept from one assignment to the next."""


class StableTableAssignor(PartitionAssignor):  # type: ignore[misc]  # Faust has no types that mypy follows
    """Faust's assignor for apps with tables, without its memory of earlier assignments.

    Members are known by the address in their metadata, which is made from the instance name.
    """

    @classmethod
    def _get_client_metadata(cls, metadata: Any) -> Any:
        client = super()._get_client_metadata(metadata)
        client.assignment = ClientAssignment(actives={}, standbys={})
        return client

    def _perform_assignment(self, cluster: Any, member_metadata: Mapping[str, Any]) -> Any:
        by_name = sorted(
            member_metadata.items(), key=lambda item: str(self._get_client_metadata(item[1]).url)
        )
        return super()._perform_assignment(cluster, dict(by_name))
