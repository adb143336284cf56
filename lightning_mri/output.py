"""A folder for results: one run writes there at a time, and no file but this program's own is replaced."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lightning_mri.files import for_results, locked, remove_leavings, remove_unfinished, write_whole
from lightning_mri.messages import printable

RECORDS = ".lightning_mri"
"""Name of the hidden folder by which a folder of results is known, see `OutputFolder`."""

SAMPLED_BYTES = 64 * 2**10


@dataclass
class Record:
    """What one scan left in the folder."""

    key: str = ""  # what it was made from and how, see `OutputFolder.is_finished`
    files: dict[str, str] = field(default_factory=dict)  # signatures by path below the folder; none while being written
    source: str = ""  # path of the scan


class OutputFolder:
    """A folder for results, with a list of the files that this program wrote into it."""

    def __init__(self, path: Path) -> None:
        self.path, self.run = path, ""
        self.records: dict[str, Record] = {}
        self._held = ExitStack()
        self._made: list[Path] = []

    def hold(self) -> None:
        """Keep the folder for this run; only its first process does so."""
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        with for_results(self.path):
            self._held.enter_context(locked(self.path))
        remove_unfinished(self.path / RECORDS)
        self.join(uuid.uuid4().hex[:8])

    def join(self, run: str) -> None:
        """Take part in a run, whose first process keeps the folder."""
        self.run = run
        self.refresh()

    def refresh(self) -> None:
        """Read what all processes have written."""
        self.records = _read(self.path / RECORDS)

    def release(self) -> None:
        """Let others write; a folder that was made in vain goes."""
        self._held.close()
        with suppress(OSError):  # it holds something
            for folder in self._made:
                folder.rmdir()

    @contextmanager
    def replacing(self, name: str, files: Iterable[str], inputs: Iterable[Path]) -> Iterator[None]:
        """Keep the folder while files, or folders of files, are written in place of those of an earlier run."""
        planned = [self.path / file for file in files]
        self.hold()
        try:
            self.check(planned, inputs)
            self.check_owner(name, planned)
            with self.writing(name, planned):
                yield
        finally:
            self.release()

    def check(self, planned: Iterable[Path], inputs: Iterable[Path]) -> None:
        """Make sure that nothing is lost where files are going to be written."""
        read = {_identity(file) for path in inputs for file in _files(path)}
        known = {name: signature for record in self.records.values() for name, signature in record.files.items()}
        for file in (file for path in planned for file in _files(path)):
            if _identity(file) in read:
                raise FileExistsError(f"{file}: output_dir must be elsewhere, since the run reads this file")
            if not self._is_own(file, known):
                raise FileExistsError(f"{file}: output_dir must be elsewhere, since another program wrote this file")

    def check_owner(self, name: str, planned: Iterable[Path]) -> None:
        """Make sure that one command does not replace the page, or another file, of another one."""
        others = {file for other, record in self.records.items() if other != name for file in record.files}
        for file in planned:
            if str(file.relative_to(self.path)) in others:
                raise FileExistsError(f"{file}: output_dir must be elsewhere, since another command wrote this file")

    def check_source(self, name: str, source: Path) -> None:
        """Make sure that the result of one scan does not take the place of another's, whose file has the same name."""
        earlier = self.records.get(name, Record()).source
        if earlier not in ("", str(source.resolve())):
            raise FileExistsError(
                f"{self.path / name}: output_dir must be elsewhere, since the result of {printable(earlier)} has this"
                " name; --results.redo true replaces it"
            )

    def is_finished(self, name: str, key: str) -> bool:
        """Return whether a scan's files are there as they were written, made from the same and in the same way."""
        record = self.records.get(name)
        return (
            record is not None
            and record.key == key
            and bool(record.files)
            and all(_signature(self.path / file) == signature for file, signature in record.files.items())
        )

    @contextmanager
    def writing(self, name: str, planned: Iterable[Path], key: str = "", source: Path | None = None) -> Iterator[None]:
        """Write the files of a scan, in place of those of an earlier run, and note them."""
        planned, origin = list(planned), "" if source is None else str(source.resolve())
        earlier, before = self.records.get(name, Record()).files, self._versions(planned)
        expected = {str(path.relative_to(self.path)): "" for path in planned}
        for file, signature in earlier.items():
            if not signature:  # a killed run was writing it
                remove_leavings(self.path / file)
        self._note(name, Record("", {**earlier, **expected}, origin))
        yield
        after = self._versions(planned)
        written = {file: _signature(self.path / file) for file, version in after.items() if before.get(file) != version}
        old = after.keys() | (earlier.keys() - expected.keys())
        for file in old - written.keys():
            self._unlink(file, self.records[name])
        self._note(name, Record(key, written, origin))

    def _versions(self, paths: Iterable[Path]) -> dict[str, tuple[int, int]]:
        """Return what changes when a file is written anew, for each file of some files and folders."""
        found = {str(file.relative_to(self.path)): file.lstat() for path in paths for file in _files(path)}
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}

    def remove(self, name: str) -> None:
        """Remove the files that an earlier run has left of a scan."""
        record = self.records.get(name)
        if record is not None:
            for file in record.files:
                self._unlink(file, record)
            del self.records[name]
            self._record(name).unlink(missing_ok=True)

    def remove_of(self, source: Path) -> None:
        """Remove the files that earlier runs have left of a scan, whatever name it had in them."""
        for name in [name for name, record in self.records.items() if record.source == str(source.resolve())]:
            self.remove(name)

    def _unlink(self, name: str, record: Record) -> None:
        """Remove a file, and folders that are empty without it; what another program has put there stays."""
        file = self.path / name
        if not self._is_own(file, record.files):
            return
        if file.is_dir():  # it was to be written when a run was killed
            shutil.rmtree(file)
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if folder == self.path or not folder.is_dir() or any(folder.iterdir()):
                return
            folder.rmdir()

    def _is_own(self, file: Path, known: Mapping[str, str]) -> bool:
        """Return whether a file is as this program wrote it, or was being written when a run was killed."""
        path = file.relative_to(self.path)
        pending = any(known.get(str(part)) == "" for part in (path, *path.parents))
        return pending or known.get(str(path)) == _signature(file)

    def _note(self, name: str, record: Record) -> None:
        self.records[name] = record
        # a file for each scan: several processes write at a time
        write_whole(self._record(name), json.dumps({"name": name, **asdict(record)}, indent=1))

    def _record(self, name: str) -> Path:
        return self.path / RECORDS / f"{digest(name)}.json"


def fingerprint_of(*files: Path) -> str:
    """Return a text that changes when one of some files does, by name, size or time; those of a folder count."""
    stats = [(file.name, file.stat()) for path in files for file in _files(path) if file.exists()]
    return digest(*(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats))


def digest(*parts: str) -> str:
    """Return a short text that changes with each of several texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _read(folder: Path) -> dict[str, Record]:
    records = {}
    for path in folder.glob("[!.]*.json"):
        try:
            content = json.loads(path.read_text())
            source = str(content.get("source", ""))
            records[str(content["name"])] = Record(str(content["key"]), dict(content["files"]), source)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: it must be a list of files that this program writes: {error}") from error
    return records


def _files(path: Path) -> list[Path]:
    """Return a file, or the files below a folder, in order; none if it does not exist."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if not file.is_dir())
    return [path] if path.exists() or path.is_symlink() else []


def _identity(file: Path) -> tuple[int, int] | Path:
    """Return what is the same for all links to a file."""
    try:
        stat = file.stat()
    except OSError:  # a broken link
        return file
    return stat.st_dev, stat.st_ino


def _signature(file: Path) -> str:
    """Return size and a hash of the first bytes of a file: not all of it, which may be gigabytes."""
    if not file.is_file():
        return "no file"
    with file.open("rb") as content:
        digest = hashlib.sha256(content.read(SAMPLED_BYTES)).hexdigest()[:16]
    return f"{file.stat().st_size} {digest}"
