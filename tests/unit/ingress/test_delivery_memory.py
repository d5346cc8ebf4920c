"""What is kept of deliveries, and that it stays within its bound."""

from app.domain.rows import DeliveryRow, DeliveryTrial
from app.ingress.delivery_answers import Delivery
from app.ingress.delivery_memory import DeliveryMemory


def row(request_id: str = "r", **changes) -> DeliveryRow:
    fields = {"url": "http://h/", "state": "pending", "created_at_ms": 1_000, "next_at_ms": 2_000}
    return DeliveryRow(request_id=request_id, **fields | changes)


def test_a_delivery_is_told_with_its_calls():
    memory = DeliveryMemory()
    calls = (DeliveryTrial(1_500, 503, None), DeliveryTrial(2_500, 0, "no route to host"))
    memory.put("d", row(trials=2, history=calls))
    (told,) = memory.of("r")
    Delivery.model_validate(told)
    assert (told["id"], told["state"], told["tries"]) == ("d", "pending", 2)
    assert told["nextTryAt"] == "1970-01-01T00:00:02.000Z"
    assert [(call["status"], call["error"]) for call in told["history"]] == [
        (503, None),
        (None, "no route to host"),
    ]
    memory.put("d", row(state="delivered", next_at_ms=0))
    assert (memory.find("r", "d")["state"], memory.find("r", "d")["nextTryAt"]) == (
        "delivered",
        None,
    )


def test_the_deliveries_of_a_request_are_told_oldest_first_and_no_others():
    memory = DeliveryMemory()
    memory.put("b", row(created_at_ms=2))
    memory.put("a", row(created_at_ms=2))
    memory.put("c", row(created_at_ms=1))
    memory.put("x", row("another"))
    memory.put("c", row(created_at_ms=1, trials=1))
    assert [one["id"] for one in memory.of("r")] == ["c", "a", "b"]
    assert memory.find("r", "x") is None
    assert memory.of("nobody") == []


def test_what_is_dropped_leaves_nothing_behind():
    memory = DeliveryMemory()
    memory.put("d", row())
    memory.drop("d")
    memory.drop("d")
    assert (memory.of("r"), memory.used_bytes) == ([], 0)
    assert (memory._bodies, memory._by_request) == ({}, {})


def test_beyond_the_bound_those_longest_untouched_go_first():
    memory = DeliveryMemory(budget_bytes=10_000)
    for number in range(100):
        memory.put(f"{number}", row(f"of {number}"))
        memory.put("0", row("of 0", trials=number))
        assert memory.used_bytes <= 10_000
    assert memory.find("of 0", "0")["tries"] == 99
    assert memory.find("of 99", "99") is not None
    assert memory.find("of 1", "1") is None
