"""The folder of a labelling run: manifest, resume, refusal of a changed config, any number of processes."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsss_mm import files
from wsss_mm.errors import ConfigError, DataError, WSSSError
from wsss_mm.pseudo_labels.sharing import SharedWork, SharingEnded
from wsss_mm.safe_loading import file_sha256

Gather = Callable[[Path, Sequence[str]], Mapping[str, bytes | Iterable[bytes]]]
_FINISH = 'finish'
_POLL = 1.        # seconds between two looks at what the others have done
_REREAD = 5.      # the same while there is work of one's own


class RunFolder:
    """What a labelling run has written, and what is left to do, for any number of processes at any time.

    ``run.json`` describes the run. While it runs, ``sharing/`` holds the claims (:class:`SharedWork`) and for each
    process a ``<token>.jsonl`` with a line per image that it has finished, written after the image's files, or that
    failed. The process that finds all images settled joins them: ``manifest.jsonl``, ``failures.json``,
    ``"complete": true``, and ``sharing/`` is gone.

    Used as ``begin(ids)``, then ``with folder:`` and in it ``claimed``, ``add`` or ``fail``, ``wait``, ``finish``.

    Args:
        root: The run's folder.
        description: What decides the labels (config, its hash, checkpoint's SHA-256 …); goes into ``run.json``.
        stale_after: Seconds without a sign of life after which a process on another machine counts as dead.

    Raises:
        ConfigError: the folder holds a run of another config or checkpoint.
        DataError: ``run.json`` is damaged, or missing beside a manifest.
    """

    def __init__(self, root: str | Path, description: dict[str, Any], stale_after: float = 60.) -> None:
        self.root, self.description, self.stale_after = Path(root), description, stale_after
        self.failures_path = self.root / 'failures.json'
        self._run_json()
        self._forget([])

    def _forget(self, ids: Iterable[str]) -> None:
        self.sharing = SharedWork(self.root / 'sharing', self.stale_after)
        self._ids = sorted(ids)
        self._open = set(self._ids)
        self._records: dict[str, dict] = {}
        self._failures: dict[str, str] = {}
        self._read_to: dict[tuple[str, int], int] = {}
        self._last_read = 0.
        self._was_complete = False

    def begin(self, ids: Iterable[str]) -> bool:
        """Look at what is there, and hash every file of it but those of processes that are at work now.

        Args:
            ids: All ids of the run.

        Returns:
            Whether the run is complete and whole, so that nothing is to be done.
        """
        self._forget(ids)
        self._read(verify=True)
        found = self._run_json() or {}
        made = found.get('files', {})
        self._was_complete = bool(found.get('complete'))
        whole = self._was_complete and not self._open and all(map(self._intact, made, made.values()))
        if whole and not self.sharing.others():   # whoever ended it was killed before it could clear up
            if self.sharing.folder.is_dir():
                self._remove_leftovers()
            self.sharing.end()
        return whole

    def __enter__(self) -> RunFolder:
        """Take part in the run.

        Raises:
            SharingEnded: another process ended it just now.
        """
        found = self._run_json()
        if found is not None and found.get('complete') and not self._was_complete:
            raise SharingEnded
        with _writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                self.sharing.__enter__()
                if found is None or found.get('complete'):
                    self._write_run_json(complete=False)
                self._remove_leftovers()
                self._stream = open(self.root / f'sharing/{self.sharing.token}.jsonl', 'xb')
            except FileNotFoundError:
                self.sharing.__exit__()
                raise SharingEnded from None
        return self

    def __exit__(self, *details: Any) -> None:
        self._stream.close()
        self.sharing.__exit__(*details)

    def _write_run_json(self, **state: Any) -> None:
        files.write_json(self.root / 'run.json', {**self.description, **state}, self.sharing.token)

    @property
    def open_ids(self) -> set[str]:
        """Ids that are neither done nor failed, as far as this process knows."""
        return self._open

    @property
    def failures(self) -> dict[str, str]:
        """Error text per image id that failed, in whichever process."""
        return self._failures

    def done(self) -> set[str]:
        """Ids whose files were all there, with the hashes that the manifests give, or have been written since."""
        return set(self._records)

    def claimed(self, shares: Sequence[Sequence[str]]) -> Iterator[int]:
        """Yield the numbers of shares (ids each) as this process gets them, until others have what is left.

        Raises:
            SharingEnded: another process has ended the run.
        """
        def is_open(share: int) -> bool:
            return not self._open.isdisjoint(shares[share])

        with _writing(self.root):
            yield from self.sharing.claimed(len(shares), is_open)
            self._read()   # the others are done with most of what they claimed
            yield from self.sharing.inherited(filter(is_open, range(len(shares))))

    def add(self, image_id: str, hashes: dict[str, str], notes: list[str]) -> None:
        """Add the manifest's line of one image whose files are written."""
        self._write(dict(id=image_id, files=hashes, notes=notes))

    def fail(self, image_id: str, error: str) -> None:
        """Put down that an image cannot be labelled, and why."""
        self._write(dict(id=image_id, failed=error))

    def _write(self, record: dict) -> None:
        with _writing(self.root):
            self._stream.write(_line(record))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self._settle(record)
        if time.monotonic() - self._last_read > _REREAD:
            self._read()

    def wait(self) -> None:
        """Wait a moment, then look at what the others have done.

        Raises:
            SharingEnded: another process has ended the run, with images of this one's list missing.
        """
        time.sleep(min(_POLL, self.stale_after / 5))
        ended = self.sharing.ended()   # before reading: what is joined then is read
        self._read()
        if ended and self._open:
            self._failures.update({i: t for i, t in (files.read_json(self.failures_path) or {}).items()
                                   if i in self._open})
            self._open -= self._failures.keys()
            if self._open:
                raise SharingEnded

    def finish(self, gather: Gather = lambda root, ids: {}) -> bool:
        """End the run where all ids are done or have failed: one process joins everything, the others wait for it.

        Args:
            gather: Makes the files of the whole run, see :meth:`LabelGenerator.gather`.

        Returns:
            Whether the whole run is complete.
        """
        try:
            while not self.sharing.ended():
                if self.sharing.take(_FINISH):
                    with _writing(self.root):
                        self._join(gather)
                    break
                time.sleep(min(_POLL, self.stale_after / 5))
        except SharingEnded:
            pass
        return bool((files.read_json(self.root / 'run.json') or {}).get('complete'))

    def _join(self, gather: Gather) -> None:
        token = self.sharing.token
        lines = [_line(self._records[i]) for i in self._ids if i in self._records]
        files.write_atomic(self.root / 'manifest.jsonl', b''.join(lines), token)
        if self._failures:
            files.write_json(self.failures_path, self._failures, token)
        else:
            self.failures_path.unlink(missing_ok=True)
        if len(lines) == len(self._ids):
            made = write_files(self.root, gather(self.root, self._ids), token)
            self._write_run_json(complete=True, images=len(self._ids), **({'files': made} if made else {}))
        self._remove_leftovers()
        self.sharing.end()

    def _read(self, verify: bool = False) -> None:
        """Read the lines that have come since the last time."""
        self._last_read = time.monotonic()
        for path in _record_files(self.root):
            try:
                with open(path, 'rb') as stream:
                    key = path.name, os.fstat(stream.fileno()).st_ino
                    stream.seek(self._read_to.get(key, 0))
                    text = stream.read()
            except FileNotFoundError:   # joined just now
                continue
            text = text[:text.rfind(b'\n') + 1]   # a line is being written, or its writer was killed
            self._read_to[key] = self._read_to.get(key, 0) + len(text)
            # What a process at work has just written needs no check; a failure of an earlier run is tried again.
            joined = path.name == 'manifest.jsonl'
            doubted = verify and (joined or not self.sharing.is_here(path.stem))
            over = verify and (joined or self.sharing.is_gone(path.stem))
            records = _records(text)
            known = Counter(record['id'] for record in records)
            for record in records:
                if joined and known[record['id']] > 1:   # damage has made one id another's, and both are in doubt
                    continue
                made = record.get('files')
                if not over if made is None else not doubted or all(map(self._intact, made, made.values())):
                    self._settle(record)
        self.sharing.observe()

    def _settle(self, record: dict) -> None:
        image_id = record['id']
        if 'files' in record:
            self._records[image_id] = record
            self._failures.pop(image_id, None)
        elif image_id not in self._records:
            self._failures[image_id] = record['failed']
        self._open.discard(image_id)

    def _run_json(self) -> dict | None:
        found = files.read_run(self.root)
        if found is None and (self.root / 'manifest.jsonl').is_file():
            raise DataError('there is a manifest and no run.json: what the labels were made with is not known',
                            file=self.root, fix=f'rm -r {self.root}   (to make them anew), or bring run.json back')
        if found is not None and found.get('hash') != self.description['hash']:
            old, new = found.get('settings', {}), self.description['settings']
            changed = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
            raise ConfigError(
                f'this folder holds labels made with other settings; changed: {", ".join(changed) or "unknown"}',
                file=self.root, expected='the same config and checkpoint, or an empty folder',
                fix=f'rm -r {self.root}   (to make them anew), or set another pseudo_labels.out_dir')
        return found

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of processes that are gone."""
        for path in self.root.rglob(f'.*{files.TEMPORARY}*'):
            if self.sharing.is_gone(path.name.rpartition(files.TEMPORARY)[2].partition('-')[0]):
                path.unlink(missing_ok=True)

    def _intact(self, name: str, sha256: str) -> bool:
        path = self.root / name
        try:
            return path.is_file() and file_sha256(path) == sha256
        except OSError:   # unreadable, or no name of a file
            return False


def read_manifest(path: Path) -> list[dict]:
    """A manifest's records (``id``, ``files`` with their SHA-256, ``notes``); none where there is no file."""
    try:
        return _records(path.read_bytes())
    except FileNotFoundError:
        return []


def finished_images(root: Path) -> dict[str, dict]:
    """The manifest's records of all images that a run has finished, be it complete, at work or interrupted; by id."""
    return {r['id']: r for path in _record_files(root) for r in read_manifest(path) if 'files' in r}


def _record_files(root: Path) -> list[Path]:
    return [root / 'manifest.jsonl', *sorted(root.glob('sharing/*.jsonl'))]


def _records(text: bytes) -> list[dict]:
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):   # damaged; its image is made again
            continue
        if _is_record(record):
            records.append(record)
    return records


def _is_record(record: Any) -> bool:
    """Whether a line holds what :class:`RunFolder` writes, and nothing else: a flipped bit may leave valid JSON."""
    if not isinstance(record, dict) or not isinstance(record.get('id'), str):
        return False
    made, notes = record.get('files'), record.get('notes')
    if made is None:
        return record.keys() == {'id', 'failed'} and isinstance(record['failed'], str)
    return (record.keys() == {'id', 'files', 'notes'} and isinstance(made, dict) and isinstance(notes, list)
            and all(isinstance(text, str) for text in (*made.values(), *notes)))


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """A disk that is full or cannot be written concerns the run; say so."""
    try:
        yield
    except OSError as error:
        raise unwritable(root, 'the records', error) from None


def unwritable(root: Path, what: str, error: OSError) -> WSSSError:
    """The error of a folder that cannot be written."""
    return WSSSError(f'cannot write {what} ({error})', file=root, fix='make room or mend the rights there, then run '
                     'the same command again: finished images are kept')


def write_files(root: Path, result_files: Mapping[str, bytes | Iterable[bytes]], owner: str | int) -> dict[str, str]:
    """Write files atomically below ``root``; returns name → SHA-256."""
    return {name: files.write_atomic(root / name, data, owner) for name, data in sorted(result_files.items())}


def _line(record: dict) -> bytes:
    return (json.dumps(record, sort_keys=True) + '\n').encode()
