"""File work: what is written is there whole or not at all, is on disk on return, and no link leads it astray.

Whatever is new is made in a scratch folder beside its place, brought to disk, and renamed. A writer that is killed
leaves the old or the new and perhaps its scratch folder, which the next one who writes there removes: a folder whose
lock (flock) is free has no writer any more. All functions raise `OSError`; what is not its cause has a name here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

SCRATCH = ".edged-new"  # the end of a scratch folder's name, which begins with a dot
SWEPT_ENTRIES = 512  # of a folder that many others use, no more are looked at
SCRATCH_TRIES = 100  # of which one is enough, unless another process sweeps at that very moment
NO_REPLACE, EXCHANGE = 1, 2  # RENAME_NOREPLACE, RENAME_EXCHANGE of renameat2(2)
AT_CWD = -100
TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)
UNABLE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class NotRegularError(OSError):
    """A folder, pipe, device or, where it would be written, a file that has a second name."""


class TooLongError(OSError):
    """More bytes than its reader allows."""


class ChangedError(OSError):
    """It grew or shrank while it was read."""


def write_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Make `path` a file with this content, replacing what is there. `mode` as in open(2): the umask is taken off."""
    with scratch_folder(path.parent) as scratch:
        _create(scratch / "new", content, mode)
        (scratch / "new").replace(path)
    sync(path.parent)


def write_new_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """As `write_file`; raises `FileExistsError` where anything is at `path`, a broken link too."""
    with scratch_folder(path.parent) as scratch:
        _create(scratch / "new", content, mode)
        try:
            _renameat2(scratch / "new", path, NO_REPLACE)
        except OSError as error:
            if error.errno not in UNABLE:
                raise
            os.link(scratch / "new", path)
    sync(path.parent)


def write_folder(target: Path, files: Mapping[str, bytes], replace: bool = False) -> None:
    """Make the folder `target` hold exactly these files.

    Raises `FileExistsError` where something is in its place, unless `replace`: then the two are exchanged, and there is
    one at every moment. A file system that cannot exchange (NFS) has none for an instant: the old one is then beside
    it, as `.<name>.old`, until the new one is there.
    """
    make_folder(target.parent)
    with scratch_folder(target.parent) as scratch:
        new = scratch / "new"
        new.mkdir()
        for name, content in files.items():
            _create(new / name, content, 0o666)
        sync(new)
        try:
            new.rename(target)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            if not replace:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            _exchange(new, target)
        sync(target.parent)


def move(made: Path, target: Path) -> None:
    """Bring a file of a scratch folder to disk, and to its place, replacing what is there."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(target)
    sync(target.parent)


def write_link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target`, replacing the one that is there."""
    with scratch_folder(path.parent) as scratch:
        (scratch / "new").symlink_to(target)
        (scratch / "new").replace(path)
    sync(path.parent)


def append_line(path: Path, line: bytes, mode: int = 0o644) -> tuple[int, int]:
    """Add a line to a file of lines, and say the inode and size it is left with; an unfinished last line stays alone.
    A line that does not fit is taken back. Raises `NotRegularError` for what is not a file, or has a second name.
    """
    handle = _open_writable(path, os.O_APPEND, mode)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        try:
            write_all(handle, (b"\n" if torn else b"") + line + b"\n")
            os.fsync(handle)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, size)
            raise
        left = os.fstat(handle)
    finally:
        os.close(handle)
    if not size:
        sync(path.parent)
    return left.st_ino, left.st_size


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it. Others see it whole or not at all."""
    with scratch_folder(path.parent) as scratch:
        path.rename(scratch / "old")
    sync(path.parent)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it, and bring their names to disk; nothing happens where it is there."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
    with contextlib.suppress(PermissionError):  # of a folder in which we may make one and not look
        sync(path.parent)


def open_regular(path: Path | str, *, dir_fd: int | None = None, follow: bool = False) -> int:
    """A descriptor to read a file from. No link is followed unless `follow`, and no pipe or device is waited for."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags, dir_fd=dir_fd)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise NotRegularError(errno.EINVAL, "not a regular file", str(path))


def read_bounded(path: Path | str, limit: int, *, dir_fd: int | None = None, follow: bool = False) -> bytes:
    """The content of a file of at most `limit` bytes. Raises `NotRegularError`, `TooLongError`, `ChangedError`."""
    with os.fdopen(open_regular(path, dir_fd=dir_fd, follow=follow), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise TooLongError(errno.EFBIG, f"{size} bytes, at most {limit} are read", str(path))
        content = file.read(size + 1)
    if len(content) != size:
        raise ChangedError(errno.EBUSY, "changed while it was read", str(path))
    return content


def open_lock(path: Path, mode: int = 0o600) -> int:
    """A descriptor of a lock file, made where it is missing; what is written to it reaches no other file."""
    return _open_writable(path, 0, mode)


def sync(folder: Path) -> None:
    """Bring a folder's entries to disk: a rename is only then safe from a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(handle)


def write_all(handle: int, content: bytes) -> None:
    """As write(2), to the last byte: it may write less than it was given."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


@contextlib.contextmanager
def memory_file(name: str, content: bytes) -> Iterator[int]:
    """A descriptor of a file in memory that no other process can change, to be read from its beginning."""
    handle = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        write_all(handle, content)
        os.lseek(handle, 0, os.SEEK_SET)
        yield handle
    finally:
        os.close(handle)


def _create(path: Path, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        write_all(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)


def _open_writable(path: Path, flags: int, mode: int) -> int:
    """A second name (a hard link) is refused as a symbolic one is: it leads to another file as well."""
    flags |= os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, mode)
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
        return handle
    os.close(handle)
    raise NotRegularError(errno.EINVAL, "not a regular file with one name", str(path))


@contextlib.contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """A private folder in `place`, removed with all that is in it. Its lock marks it as in use."""
    _sweep(place)
    folder, handle = _locked_folder(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _locked_folder(place: Path) -> tuple[Path, int]:
    for _ in range(SCRATCH_TRIES):
        folder = place / f".{os.urandom(8).hex()}{SCRATCH}"
        folder.mkdir(0o700)
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # swept before we could lock it
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _lock(handle)
                if os.path.samestat(os.fstat(handle), folder.lstat()):
                    return folder, handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(place))


def _lock(handle: int) -> bool:
    """False where the file system has no such locks: then no process sweeps, and none need."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _sweep(place: Path) -> None:
    """Remove the scratch folders of writers that were killed."""
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in islice(entries, SWEPT_ENTRIES):
            if entry.name.endswith(SCRATCH) and entry.name.startswith("."):
                with contextlib.suppress(OSError):  # in use, gone by now, or another user's
                    handle = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    try:
                        if _lock(handle):
                            shutil.rmtree(entry.path)
                    finally:
                        os.close(handle)


def _exchange(new: Path, target: Path) -> None:
    """`target` becomes `new`; the old one goes to where `new` was, to be removed with the scratch folder."""
    try:
        _renameat2(new, target, EXCHANGE)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        aside = target.with_name(f".{target.name}.old")
        target.rename(aside)
        new.rename(target)
        aside.rename(new)


def _renameat2(old: Path, new: Path, flags: int) -> None:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if call(AT_CWD, os.fsencode(old), AT_CWD, os.fsencode(new), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(new))
