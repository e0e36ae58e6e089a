"""Fuzzing of everything that reads labels and other files from outside.

Valid files of each kind are damaged at random (bytes, words, members of archives, arrays). A reader has to return a
value or to raise a ``WSSSError``: never another error, never more than 5 s of the processor or 1 GiB of memory; and it
never writes, starts a process, connects or unpickles. What it falls over is kept below --out. Needs Linux.

    python benchmarks/fuzz_readers.py --minutes 60 --report benchmarks/results/fuzz_readers.md
    python benchmarks/fuzz_readers.py --minutes 1 --only read_image
    python benchmarks/fuzz_readers.py --again work_dirs/fuzz/<folder of a find>
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault('OMP_NUM_THREADS', '1')
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]
from _fuzz_damage import damage  # noqa: E402
from _fuzz_readers import Reader, all_readers  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wsss_mm.errors import WSSSError  # noqa: E402

SECONDS, MEMORY = 5, 2**30
_STUCK = 60      # on the clock; the alarm does not reach code that never comes back to Python
_FORBIDDEN = ('os.remove', 'os.rename', 'os.mkdir', 'os.rmdir', 'os.truncate', 'os.link', 'os.symlink', 'os.chmod',
              'os.system', 'os.exec', 'os.fork', 'os.posix_spawn', 'os.putenv', 'subprocess.Popen', 'socket.connect',
              'pickle.find_class', 'ctypes.dlopen', 'shutil.rmtree')
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watch: dict[str, Any] = dict(on=False, seen=[], installed=False)


class TooSlow(BaseException):
    """A reader took more than its time."""


class NotAllowed(Exception):
    """A reader did what no reader does."""


def _audit(event: str, arguments: tuple) -> None:
    if not _watch['on']:
        return
    if event == 'pickle.find_class' and arguments[0] == 'wsss_mm.errors':   # of infos, which are pickled in memory
        return
    if event in _FORBIDDEN or event == 'open' and isinstance(arguments[2], int) and arguments[2] & _WRITING:
        _watch['seen'].append(f'{event} {str(arguments)[:200]}')


@contextlib.contextmanager
def watched(seconds: float) -> Iterator[None]:
    """Ends what takes too long, and notes what no reader may do."""
    if not _watch['installed']:
        sys.addaudithook(_audit)
        _watch['installed'] = True

    def late(*_: Any) -> None:
        raise TooSlow(f'more than {seconds:g} s')
    before = signal.signal(signal.SIGPROF, late)
    _watch.update(on=True, seen=[])
    signal.setitimer(signal.ITIMER_PROF, seconds)   # of the processor, which others may be using too
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _watch['on'] = False
        signal.signal(signal.SIGPROF, before)
    if _watch['seen']:
        raise NotAllowed('; '.join(_watch['seen'][:3]))


class Trial:
    """One reader with a folder of its own, in which its files are damaged one by one.

    Args:
        reader: The reader.
        folder: Made anew; called ``tried``.
    """

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.folder = reader, folder
        self.counts: Counter[str] = Counter()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if reader.together:
            for name, content in reader.seeds.items():
                self._put(name, content)
        for name, content in reader.seeds.items():   # imports what it needs, and shows that the seeds are valid
            with self._in_place(name, content) as path:
                reader.read(path)

    def _put(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    @contextlib.contextmanager
    def _in_place(self, name: str, content: bytes) -> Iterator[Path]:
        path = self._put(name, content)
        try:
            yield path
        finally:
            if self.reader.together:
                self._put(name, self.reader.seeds[name])
            else:
                path.unlink()

    def examples(self) -> st.SearchStrategy[tuple[str, bytes]]:
        """Names and damaged contents."""
        return st.one_of(*(st.tuples(st.just(name), damage(data)) for name, data in self.reader.seeds.items()))

    def try_one(self, name: str, content: bytes) -> None:
        """Read one damaged file.

        Raises:
            Exception: whatever is no ``WSSSError``.
        """
        with self._in_place(name, content) as path, warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                with watched(SECONDS):
                    self.reader.read(path)
                self.counts['read'] += 1
            except WSSSError as error:
                str(error)
                self.counts['refused'] += 1


def where(error: BaseException) -> str:
    """Kind and place of an error, by which finds are told apart."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if 'wsss_mm' in Path(f.filename).parts]
    place = f'{Path(frames[-1].filename).name}:{frames[-1].lineno}' if frames else '?'
    return f'{type(error).__name__} at {place}'


def one_round(reader: Reader, number: int, examples: int, known: set[str], folder: Path, answer: Any) -> None:
    """Many examples in a process of its own, with bounded memory; what came out goes through a pipe."""
    trial = Trial(reader, folder)
    now = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    found: list[tuple[str, str, str, bytes]] = []

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(trial.examples())
    def attempt(example: tuple[str, bytes]) -> None:
        try:
            trial.try_one(*example)
        except (Exception, TooSlow) as error:   # kept; the round goes on
            trial.counts['other'] += 1
            place = where(error)
            if place not in known:
                known.add(place)
                found.append((place, ''.join(traceback.format_exception(error))[-4000:], *example))
    attempt()
    answer.send((dict(trial.counts), found))


def run_round(reader: Reader, number: int, examples: int, known: set[str], folder: Path
              ) -> tuple[dict[str, int], list[tuple[str, str, str, bytes]]]:
    """:func:`one_round` in a child; one that dies or hangs is a find too, with the file that it was reading."""
    context = multiprocessing.get_context('fork')
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=one_round, args=(reader, number, examples, known, folder, theirs))
    child.start()
    theirs.close()
    last, since = None, time.monotonic()
    while not ours.poll(1):
        newest = last
        with contextlib.suppress(FileNotFoundError):   # the child has just taken it away
            newest = max((p.stat().st_mtime_ns for p in folder.rglob('*')), default=0)
        if newest != last:
            last, since = newest, time.monotonic()
        if time.monotonic() - since > _STUCK or not child.is_alive():
            break
    try:
        answer = ours.recv() if ours.poll() else None
    except EOFError:
        answer = None
    if answer is None:
        child.join(1)
        stuck = child.is_alive()
        child.kill()
        child.join()
        place = 'hung' if stuck else f'died with {child.exitcode}'
        files = [(p.relative_to(folder).as_posix(), p.read_bytes()) for p in sorted(folder.rglob('*')) if p.is_file()]
        newest_first = sorted(files, key=lambda f: (folder / f[0]).stat().st_mtime_ns, reverse=True)
        name, content = newest_first[0] if newest_first else ('nothing', b'')
        return dict(other=1), [] if place in known else [(place, place, name, content)]
    child.join()
    return answer


def keep(out: Path, reader: str, find: tuple[str, str, str, bytes]) -> Path:
    """Write what a reader fell over, and how."""
    place, text, name, content = find
    folder = out / f'{reader}_{place}'.replace(' ', '_').replace(',', '').replace('/', '_')
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / 'find.json').write_text(json.dumps(dict(reader=reader, file=name, where=place, error=text), indent=1))
    return folder


def again(folder: Path) -> int:
    """Read a kept find once more."""
    find = json.loads((folder / 'find.json').read_text())
    with tempfile.TemporaryDirectory() as scratch:
        trial = Trial(all_readers(Path(scratch) / 'beside')[find['reader']], Path(scratch) / 'tried')
        trial.try_one(find['file'], (folder / find['file']).read_bytes())
    print(f'{find["reader"]}: {dict(trial.counts)}')
    return 0


def report(totals: dict[str, Counter[str]], finds: list[str], arguments: argparse.Namespace, seconds: float) -> str:
    """The table."""
    rows = [f'| {name} | {sum(c[k] for k in ("read", "refused", "other")):,} | {c["read"]:,} | {c["refused"]:,} | '
            f'{c["other"]:,} | {c["ms"] / 1000:.0f} |' for name, c in totals.items()]
    total = sum((Counter(c) for c in totals.values()), Counter())
    count = total['read'] + total['refused'] + total['other']
    lines = [
        '# Fuzzing of the readers', '',
        f'`python benchmarks/fuzz_readers.py --minutes {arguments.minutes:g} --seed {arguments.seed}`: {count:,} '
        f'damaged files', f'in {seconds / 60:.0f} minutes, one process. *Read*: a value came back; *refused*: a '
        '`WSSSError`; *else*: any other error,', 'more than 5 s of the processor or 1 GiB, a write.', '',
        '| reader | files | read | refused | else | seconds |', '|---|---|---|---|---|---|', *rows,
        f'| all | {count:,} | {total["read"]:,} | {total["refused"]:,} | {total["other"]:,} | '
        f'{total["ms"] / 1000:.0f} |', '']
    lines += ['What fell out:', '', *(f'- {find}' for find in finds)] if finds else ['Nothing fell out.']
    return '\n'.join(lines) + '\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=60, help='how long (default: 60)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--examples', type=int, default=300, help='of a reader before the next has its turn')
    parser.add_argument('--only', nargs='+', metavar='READER', help='some of the readers')
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs/fuzz', help='folder for finds')
    parser.add_argument('--report', type=Path, help='write the table to this file as well')
    parser.add_argument('--again', type=Path, metavar='FIND', help='read a kept find once more, and show the error')
    arguments = parser.parse_args()
    if arguments.again:
        return again(arguments.again)
    began, finds = time.monotonic(), []
    with tempfile.TemporaryDirectory() as scratch:
        readers = all_readers(Path(scratch) / 'beside')
        names = arguments.only or list(readers)
        for name in names:   # what it imports when first used is imported here, once for all rounds
            Trial(readers[name], Path(scratch) / 'tried')
        totals: dict[str, Counter[str]] = {name: Counter() for name in names}
        known: dict[str, set[str]] = {name: set() for name in names}
        draws = random.Random(arguments.seed)
        while True:
            for name in names:
                start = time.monotonic()
                counts, found = run_round(readers[name], draws.getrandbits(60), arguments.examples, known[name],
                                          Path(scratch) / 'tried')
                totals[name].update(counts, ms=int(1000 * (time.monotonic() - start)))
                for find in found:
                    known[name].add(find[0])
                    finds.append(f'{name}: {find[0]}')
                    print(f'{finds[-1]}; kept in {keep(arguments.out, name, find)}', flush=True)
                left = 60 * arguments.minutes - (time.monotonic() - began)
                if left < 0:
                    break
            count = sum(c[k] for c in totals.values() for k in ('read', 'refused', 'other'))
            print(f'{count:,} files, {len(finds)} finds, {max(left, 0) / 60:.1f} minutes left', flush=True)
            if left < 0:
                break
    text = report(totals, finds, arguments, time.monotonic() - began)
    print(text)
    if arguments.report:
        arguments.report.write_text(text, encoding='utf-8')
    return 1 if finds else 0


if __name__ == '__main__':
    sys.exit(main())
