"""The end of the demo: the evidence of a decision in one file, and what the verifier inside it says."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from alphapulse.processes.demo import Stack

_RESOLVED = """
query($strategy: String!) {
  signals(strategy: $strategy, state: CLOSED, first: 1) { nodes { number } }
  outcomes(strategy: $strategy, first: 1) { nodes { decisionId } }
}
"""


async def show_proof(console: "Console", stack: "Stack", strategy: str, folder: Path) -> None:
    """The last signal that the market has closed, or where there is none the last resolved candidate."""
    import asyncio

    found = await asyncio.to_thread(stack.query, _RESOLVED, strategy=strategy)
    signals, outcomes = found["signals"]["nodes"], found["outcomes"]["nodes"]
    out = folder / "evidence.tar.gz"
    (key,) = await stack.command("audit", "key")
    if outcomes:
        which = f"{strategy}/{signals[0]['number']}" if signals else outcomes[0]["decisionId"]
        (made,) = await stack.command("evidence", which, "-o", str(out), "--force")
        what = f"signal {made['number']}" if made["number"] else "a candidate that was refused"
        console.print(f"   {what} ({made['decision']}), with {made['market_events']:,} events of its market:")
    else:
        (made,) = await stack.command("audit", "export", str(out), "--strategy", strategy, "--force")
        console.print(f"   nothing was resolved; all {made['events']:,} events of {strategy} instead:")
    console.print(f"   {out}, out of a tree of {made['size']:,} leaves")
    console.print(f"   the verify.py in it, given the key {key['key']}:")
    for line in await _verified(out, key["key"]):
        console.print(f"     {line}", markup=False)


async def _verified(bundle: Path, key: str) -> list[str]:
    """What the verifier in the bundle prints, with nothing of ours in reach."""
    import asyncio
    import sys
    import tempfile

    with tempfile.TemporaryDirectory(prefix="alphapulse-verify-") as folder:
        script = Path(folder) / "verify.py"
        await asyncio.to_thread(_take_out, bundle, script)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(script), str(bundle), "--key", key),
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        text, _ = await process.communicate()
    return [line for line in text.decode(errors="replace").splitlines() if line.strip()]


def _take_out(bundle: Path, script: Path) -> None:
    import tarfile

    with tarfile.open(bundle) as archive:
        member: Any = archive.extractfile("verify.py")
        script.write_bytes(member.read())
