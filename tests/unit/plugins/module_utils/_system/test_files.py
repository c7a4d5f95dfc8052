# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host's files among links, pipes and folders of others: as the account, and with root's help where it is safe."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import signal
import stat
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files, RootFiles
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import (
    Identity,
    acting_as,
    identity_of,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import ModuleRunner

ACCOUNT = "nobody"
SECRET = "root's own words"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has ids to give")


@pytest.fixture
def folder() -> t.Iterator[Path]:
    """The account's folder, which it can reach."""
    path = Path(tempfile.mkdtemp(prefix="pgt-files-"))
    if os.geteuid() == 0:
        os.chown(path, pwd.getpwnam(ACCOUNT).pw_uid, pwd.getpwnam(ACCOUNT).pw_gid)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def roots() -> t.Iterator[Path]:
    """A folder in which root alone can write, as in every one above it."""
    path = Path(tempfile.mkdtemp(prefix="pgt-files-", dir="/var/lib"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def secret(roots: Path) -> Path:
    path = roots / "secret"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


def files(*named: Path) -> Files:
    return Files(ACCOUNT if os.geteuid() == 0 else None, named=map(str, named))


def own(path: Path) -> Path:
    """Give something to the account."""
    if os.geteuid() == 0:
        os.lchown(path, pwd.getpwnam(ACCOUNT).pw_uid, pwd.getpwnam(ACCOUNT).pw_gid)
    return path


@contextlib.contextmanager
def as_account_all_the_while(done: t.Callable[[], None]) -> t.Iterator[None]:
    """Another process of the account does something again and again."""
    entry = pwd.getpwnam(ACCOUNT)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        while True:
            with contextlib.suppress(OSError):
                done()
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def owner_of(path: Path) -> str:
    return pwd.getpwuid(path.lstat().st_uid).pw_name


# --- whoever runs it ---


def test_a_symbolic_link_stays_and_the_file_behind_it_is_replaced(folder: Path) -> None:
    own_folder(folder / "elsewhere")
    (folder / "file").symlink_to("elsewhere/file")
    files().write_text(str(folder / "file"), "new", mode=0o640)
    assert (folder / "file").is_symlink()
    assert (folder / "elsewhere/file").read_text() == "new"
    files().write_text(str(folder / "file"), "state", mode=0o600, follow=False)
    assert not (folder / "file").is_symlink()


def own_folder(path: Path) -> Path:
    path.mkdir()
    return own(path)


@pytest.mark.parametrize("name", ["pipe", "folder", "socket", "large", "zero"])
def test_what_is_not_a_small_regular_file_is_refused_at_once(folder: Path, name: str) -> None:
    path = folder / name
    if name == "pipe":
        os.mkfifo(path, 0o666)
    elif name == "folder":
        own_folder(path)
    elif name == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o666)
    elif name == "large":
        path.write_bytes(b"x" * 101)
    else:
        path.symlink_to("/dev/zero")
    own(path)
    with pytest.raises(FileRefused) as caught:
        files().read_text(str(path), limit=100)
    assert str(path) in caught.value.message


def test_a_link_is_refused_where_none_is_legitimate(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/os-release")
    with pytest.raises(FileRefused, match="symbolic link"):
        files().read_text(str(folder / "link"), follow=False)
    assert files().read_text(str(folder / "link"))


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_is_not_written_over(folder: Path, link: bool) -> None:
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "folder")
    with pytest.raises(FileRefused, match="is a folder"):
        Files(None).write_text(str(folder / ("link" if link else "folder")), "x", mode=0o600)


def test_nothing_is_there(folder: Path) -> None:
    missing = str(folder / "none")
    assert files().read_text(missing) is None
    assert files().list_names(missing) == []
    assert files().mode(missing) is files().stat(missing) is None
    files().remove_tree(missing)
    files().forget_file(missing)


def test_removing_a_tree_leaves_what_links_lead_to(folder: Path) -> None:
    for path in ("kept", "tree", "tree/inner"):
        own_folder(folder / path)
    (folder / "kept/file").write_text("kept")
    (folder / "tree/inner/link").symlink_to(folder / "kept")
    os.mkfifo(folder / "tree/pipe")
    files().remove_tree(str(folder / "tree"))
    assert sorted(os.listdir(folder)) == ["kept"]
    assert (folder / "kept/file").read_text() == "kept"


def test_parts_and_names(folder: Path) -> None:
    (folder / "file").write_text("0123456789\r\nend\n")
    assert files().read_part(str(folder / "file"), offset=3, count=4) == b"3456"
    assert files().read_text(str(folder / "file")) == "0123456789\nend\n"
    assert files().read_text(str(folder / "file"), as_written=True) == "0123456789\r\nend\n"
    assert files().list_names(str(folder)) == ["file"]


# --- as root ---


@as_root
@pytest.mark.parametrize("how", ["to a file of root's", "to nowhere in root's folder"])
def test_what_the_account_may_not_do_is_not_done_through_its_link(
    folder: Path, roots: Path, secret: Path, how: str
) -> None:
    link = folder / "link"
    link.symlink_to(secret if how == "to a file of root's" else roots / "made")
    if how == "to a file of root's":
        with pytest.raises(PermissionError):
            files().read_text(str(link))
    with pytest.raises(FileRefused):
        files(folder).write_text(str(link), "theirs", mode=0o644)
    assert secret.read_text() == SECRET
    assert sorted(os.listdir(roots)) == ["secret"]


@as_root
def test_a_folder_of_roots_behind_a_link_is_not_given_away(folder: Path, roots: Path) -> None:
    (roots / "empty").mkdir()
    (folder / "data").symlink_to(roots / "empty")
    for done in (
        lambda: files(folder).make_folder(str(folder / "data"), mode=0o700),
        lambda: files(folder).take_folder(str(folder / "data"), mode=0o700),
        lambda: files(folder).make_folder(str(folder / "data/below"), mode=0o700),
        lambda: files(folder).write_text(str(folder / "data/file"), "", mode=0o600),
        lambda: files(folder).rename(str(roots / "empty"), str(folder / "taken")),
    ):
        with pytest.raises((FileRefused, PermissionError)):
            done()
    assert owner_of(roots / "empty") == "root"
    assert os.listdir(roots / "empty") == []


@as_root
def test_root_helps_where_the_inventory_names_a_place_of_its_own(roots: Path) -> None:
    data = roots / "deep/data"
    files(data).make_folder(str(data), mode=0o700)
    assert owner_of(data) == owner_of(data.parent) == ACCOUNT
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    (roots / "mount").mkdir()
    files(roots / "mount").make_folder(str(roots / "mount"), mode=0o700)
    assert owner_of(roots / "mount") == ACCOUNT
    beside = roots / "mount.pgpass"
    files(roots / "mount").write_text(str(beside), "word", mode=0o600)
    assert (owner_of(beside), files().read_text(str(beside))) == (ACCOUNT, "word")
    files(roots / "mount").rename(str(roots / "mount"), str(roots / "mount.aside"))
    files(roots / "mount").remove_tree(str(roots / "mount.aside"))
    files(roots / "mount").remove_file(str(beside))
    assert sorted(os.listdir(roots)) == ["deep"]


@as_root
def test_root_does_not_help_where_only_the_account_names_a_place(roots: Path) -> None:
    (roots / "empty").mkdir()
    for done in (
        lambda: files().make_folder(str(roots / "made"), mode=0o700),
        lambda: files().make_folder(str(roots / "empty"), mode=0o700),
        lambda: files(roots / "other").write_text(str(roots / "file"), "", mode=0o600),
    ):
        with pytest.raises(FileRefused):
            done()
    assert owner_of(roots / "empty") == "root"
    assert sorted(os.listdir(roots)) == ["empty"]


@as_root
def test_root_does_not_take_a_folder_with_something_in_it(roots: Path) -> None:
    (roots / "full").mkdir()
    (roots / "full/file").write_text("of somebody")
    with pytest.raises(FileRefused, match="not empty"):
        files(roots / "full").make_folder(str(roots / "full"), mode=0o700)


@as_root
def test_root_follows_links_of_its_own(roots: Path) -> None:
    (roots / "disk").mkdir()
    (roots / "data").symlink_to("disk/../disk")
    files(roots / "data").make_folder(str(roots / "data"), mode=0o700)
    assert owner_of(roots / "disk") == ACCOUNT


@as_root
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_folder_that_others_may_write_is_not_roots(roots: Path, mode: int) -> None:
    (roots / "open").mkdir()
    (roots / "open/inner").mkdir()
    (roots / "open").chmod(mode)
    with pytest.raises(FileRefused, match="others than root"):
        RootFiles().write_text(str(roots / "open/inner/unit"), "", mode=0o644)
    with pytest.raises(FileRefused, match="others than root"):
        files(roots).make_folder(str(roots / "open/inner/data"), mode=0o700)


@as_root
def test_an_existing_file_of_roots_in_its_folder_stays_roots(roots: Path) -> None:
    (roots / "main.conf").write_text("before")
    files(roots).write_text(str(roots / "main.conf"), "after", mode=0o644)
    assert owner_of(roots / "main.conf") == "root"
    RootFiles().write_text(str(roots / "main.conf"), "unit", mode=0o644)
    assert RootFiles().read_text(str(roots / "main.conf")) == "unit"


@as_root
def test_the_group_of_a_file_stays_where_the_account_is_in_it(folder: Path) -> None:
    path = folder / "file"
    path.write_text("before")
    os.chown(path, 0, grp.getgrnam("adm").gr_gid)
    files().write_text(str(path), "after", mode=0o640)
    # The account is not in adm, so its own group does not get what adm had.
    assert (owner_of(path), stat.S_IMODE(path.stat().st_mode)) == (ACCOUNT, 0o600)


@as_root
def test_a_section_has_the_ids_and_the_groups_of_the_account_and_gives_them_back() -> None:
    before = os.getresuid(), os.getresgid(), os.getgroups()
    wanted = Identity(identity_of(ACCOUNT).uid, identity_of(ACCOUNT).gid, (identity_of(ACCOUNT).gid, 4))
    with acting_as(wanted), acting_as(wanted):
        assert (os.geteuid(), os.getegid(), sorted(os.getgroups())) == (wanted.uid, wanted.gid, sorted(wanted.groups))
        assert os.getuid() == 0
        with pytest.raises(RuntimeError), acting_as(Identity(1, 1, ())):
            pass
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


@as_root
def test_no_program_is_started_in_a_section() -> None:
    runner = ModuleRunner(t.cast(t.Any, None))
    with acting_as(identity_of(ACCOUNT)):
        for start in (lambda: runner.run(["true"]), lambda: runner.run_until(["true"], word="x")):
            with pytest.raises(RuntimeError, match="another account"):
                start()


@as_root
def test_a_tree_whose_folders_are_exchanged_for_links_is_removed_without_them(folder: Path, secret: Path) -> None:
    """The account exchanges a folder and a link to root's folder all the while."""
    tree, inner, away = folder / "tree", folder / "tree/a", folder / "tree/b"

    def flip() -> None:
        tree.mkdir(exist_ok=True)
        inner.mkdir(exist_ok=True)
        inner.rename(away)
        inner.symlink_to(secret.parent)
        inner.unlink()
        away.rmdir()

    with as_account_all_the_while(flip):
        for _round in range(300):
            with contextlib.suppress(OSError, FileRefused):
                files().remove_tree(str(tree))
    assert secret.read_text() == SECRET
