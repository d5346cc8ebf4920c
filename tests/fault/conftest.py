"""What the fault tests share; those that take long run only when they are named."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
ONLY_WHEN_NAMED = {"test_load.py"}
"""Files that `scripts/test` leaves out: `scripts/test tests/fault` or the file itself runs them."""


def load(path: Path, name: str) -> ModuleType:
    """Import a file that belongs to no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long ones out where nobody has asked for them."""
    if any(HERE.name in argument for argument in config.args):
        return
    ours = [
        item for item in items if item.path.parent == HERE and item.path.name in ONLY_WHEN_NAMED
    ]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in set(ours)]


@pytest.fixture(scope="session")
def loaded_service() -> ModuleType:
    """The client and the watch that scripts/bench/load.py uses."""
    path = HERE.parents[1] / "scripts" / "bench" / "loaded_service.py"
    return load(path, "loaded_service")
