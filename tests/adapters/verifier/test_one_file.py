"""The verifier as one file: the same at each call, on every Python from 3.8, alone in an empty world."""

import ast
import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alphapulse.adapters.verifier.joining import PACKAGE, NameTwice, join, joined
from alphapulse.adapters.verifier.main import main
from alphapulse.domain.provenance.selection import Selection
from tests.provenance.forging import members_of
from tests.provenance.given import bundle_of, sealed_log

FOLDER = Path(__file__).parents[3] / "alphapulse/adapters/verifier"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "b.tar.gz"

    async def make() -> None:
        await bundle_of(await sealed_log(events=80, rows=4), Selection(), out, tables=("csv",))

    asyncio.run(make())
    return out


def run(
    script: Path, *words: object, cwd: Path | None = None, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    command = [python, "-I", "-S", str(script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)


def test_it_is_the_same_at_each_call_and_holds_every_module() -> None:
    sources = {
        path.stem: path.read_text()
        for path in FOLDER.glob("*.py")
        if path.stem not in ("__init__", "joining")
    }
    assert join(sources) == joined()
    assert [name for name in sources if f"# ---- {name}\n" not in joined()] == []


def test_it_is_python_3_8_and_imports_the_standard_library_alone() -> None:
    tree = ast.parse(joined(), feature_version=(3, 8))
    roots = {
        (node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert roots - {"__future__"} <= sys.stdlib_module_names
    assert PACKAGE not in joined()


def test_a_name_in_two_modules_is_refused() -> None:
    main_ = f"from {PACKAGE}.other import a\n_X = 1\n"
    with pytest.raises(NameTwice, match=r"_X stands in other\.py and in main\.py"):
        join({"main": main_, "other": "def a(): ...\n_X = 2\n"})


def test_modules_come_after_those_that_they_import_and_imports_are_gathered() -> None:
    text = join(
        {
            "main": f'"""Last."""\nimport sys\nfrom {PACKAGE}.b import b\nprint(b, sys)\n',
            "b": f"import os\nfrom typing import (\n  Any,\n  List,\n)\nfrom {PACKAGE}.a import a\nb = a\n",
            "a": "import os\na = 1\n",
        }
    )
    assert text.index("a = 1") < text.index("b = a") < text.index("print(b, sys)")
    assert text.count("import os") == 1
    assert "from typing import Any\nfrom typing import List\n" in text
    assert "# Last." in text


def test_the_script_in_a_bundle_is_this_one(bundle: Path) -> None:
    assert members_of(bundle.read_bytes())["verify.py"].decode() == joined()


def test_alone_it_says_what_the_product_says(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "verify.py"
    script.write_text(joined())
    done = run(script, bundle, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert main([str(bundle), "--json"]) == 0
    alone, here = json.loads(done.stdout), json.loads(capsys.readouterr().out)
    assert alone.pop("not_decoded") > 0  # no zstd in an empty world: hashed, and counted
    assert here.pop("not_decoded") == 0
    for told in (alone, here):
        told.pop("notes")
    assert alone == here


def test_it_runs_in_the_folder_of_a_bundle_that_was_unpacked(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    shutil.unpack_archive(bundle, folder, filter="data")
    done = run(folder / "verify.py", bundle, cwd=folder)
    assert (done.returncode, done.stdout.split("\n")[0]) == (0, "VALID")


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.12", "3.13", "3.14"])
def test_it_runs_on_other_pythons(version: str, bundle: Path, tmp_path: Path) -> None:
    python = _python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    script = tmp_path / "verify.py"
    script.write_text(joined())
    done = run(script, bundle, "--json", python=python)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["verdict"] == "VALID"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no-such-file"], "No such file"),
        (["x", "--key", "nonsense"], "nonsense"),
        (["x", "--since", "no-such-note"], "no-such-note"),
        ([], "required"),
        (["x", "--unknown"], "unrecognized"),
    ],
)
def test_wrong_calls_end_with_2_and_a_reason(words: list[str], says: str, tmp_path: Path) -> None:
    script = tmp_path / "verify.py"
    script.write_text(joined())
    done = run(script, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def _python(version: str) -> str | None:
    """A Python of this version that runs."""
    for found in (
        shutil.which(f"python{version}"),
        *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
    ):
        if found is not None and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found
    return None
