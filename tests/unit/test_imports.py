"""Every module imports on its own, in any order: there are no cycles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "luni"
CORE = [
    ".".join(["luni", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
]
CORE = sorted(
    name for name in CORE if not name.startswith(("luni.cli", "luni.ops", "luni.testing.conformance", "luni.__main__"))
)


@pytest.mark.parametrize("batch", [CORE[number::4] for number in range(4)], ids=["1", "2", "3", "4"])
def test_every_module_imports_on_its_own(batch):
    forget = "[sys.modules.pop(name) for name in list(sys.modules) if name.split('.')[0] == 'luni']"
    code = f"import importlib, sys\nfor module in {batch!r}:\n    {forget}\n    importlib.import_module(module)\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE.parent)},
    )
    assert done.returncode == 0, done.stderr


def test_a_url_of_no_known_form_is_a_config_error_before_any_driver_is_imported():
    code = (
        "import sys, luni\n"
        "try: luni.Memory.open('mysql://x')\n"
        "except luni.errors.ConfigError as error: print(error)\n"
        "print(sorted({'redis', 'apsw'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE.parent)},
        check=True,
    )
    said, imported = done.stdout.splitlines()
    assert "sqlite" in said
    assert imported == "[]"
