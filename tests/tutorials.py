"""The blocks of a Markdown page as a reader follows them: files are written, commands and programs are run, in order.

* ```` ```bash ````: one shell for the block, ``-e``; ```` ```bash no-run ````: shown only (the page says why).
* ```` ```python ```` whose first line is ``# some/file.py``: written to that file, below the folder.
* other ```` ```python ````: run as a program. ```` ```python no-run ````: shown only.
* All other languages are output or pictures of files and are left alone.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the page's line of its first line, whether it is to be run or shown."""

    language: str
    text: str
    line: int
    run: bool = True

    @property
    def file(self) -> str | None:
        """The path that the first line of a Python block names."""
        named = re.match(r'# ([\w./-]+\.py)\s*$', self.text.split('\n', 1)[0])
        return named[1] if named and self.language == 'python' else None


def blocks(page: Path) -> list[Block]:
    """The page's bash and Python blocks in order. A mark other than ``no-run`` behind the language is refused."""
    text = page.read_text()
    found = []
    for match in re.finditer(r'^```(bash|python)[ \t]*([^\n]*)\n(.*?)^```[ \t]*$', text, re.DOTALL | re.MULTILINE):
        language, mark, body = match.groups()
        line = text.count('\n', 0, match.start(3)) + 1
        if mark.strip() not in ('', 'no-run'):
            raise ValueError(f'{page}:{line}: mark {mark!r} behind the language')
        found.append(Block(language, body, line, mark.strip() != 'no-run'))
    return found


def lay_out(folder: Path) -> None:
    """The repository's configs and tools in ``folder``, as a reader has them who works in a clone."""
    shutil.copytree(ROOT / 'configs', folder / 'configs', ignore=shutil.ignore_patterns('*.md', '*.yml', '__pycache__'))
    (folder / 'tools').symlink_to(ROOT / 'tools')


def follow(page: Path, folder: Path, env: Mapping[str, str] | None = None, timeout: float = 600) -> dict[int, str]:
    """Do what the page says, in ``folder``.

    Args:
        page: A Markdown file.
        folder: The reader's working directory; there is nothing in it but what the caller put there.
        env: Variables beyond those of this process.
        timeout: Seconds for one block.

    Returns:
        Line of the page → what its block printed, both streams together.

    Raises:
        AssertionError: a block failed or took too long; the message has the page's line and the end of its output.
    """
    # `python` is this interpreter. A virtual environment's link is not followed: it is what finds the packages.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
    kept = {k: v for k, v in os.environ.items() if not k.startswith('TOY_')}
    environment = {**kept, 'PATH': path, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'Agg',
                   **(env or {})}
    printed = {}
    for block in blocks(page):
        if block.file and block.run:
            target = folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
        elif block.run:
            command = ['bash', '-e', '-c'] if block.language == 'bash' else [sys.executable, '-c']
            printed[block.line] = _run([*command, block.text], folder, environment, timeout, f'{page}:{block.line}')
    return printed


def _run(command: list[str], folder: Path, environment: dict[str, str], timeout: float, where: str) -> str:
    """Run it in a process group of its own, of which nothing is left if it hangs."""
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, start_new_session=True) as process:
        try:
            out, _ = process.communicate(timeout=timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise AssertionError(f'{where}: not finished after {timeout:.0f} s') from None
            raise
    assert process.returncode == 0, f'{where}: exit code {process.returncode}\n{command[-1]}\n{out[-4000:]}'
    return out
