"""Progress on a terminal, on stderr, so that stdout stays for results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counter(what: str, total: int | None, *, show: bool) -> Iterator[Callable[[int], None]]:
    """A function to call with how many are done; ``total`` None when nobody knows."""
    if not show:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def file_progress(name: str, *, show: bool) -> Iterator[Callable[[str, float], None]]:
    """A function to call with a text about what is done and the part of the file, 0 to 1."""
    if not show:
        yield lambda _text, _ratio: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=1.0, text="")
        yield lambda text, ratio: progress.update(task, completed=ratio, text=text)


@contextmanager
def position_progress(name: str, *, show: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function to call with what is being done, the position reached and the one to reach."""
    with file_progress(name, show=show) as tell:
        yield lambda stage, done, target: tell(f"{stage} {done:,} of {target:,}", done / max(target, 1))
