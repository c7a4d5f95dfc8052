# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts' images, made from packages and kept by podman under a tag that is a hash of their recipe.

An image's name says what is in it:

    bookworm                a bare Debian host: systemd, sshd, sudo, Python; no PostgreSQL (also bullseye, trixie)
    bookworm-postgresql     the same with Debian's PostgreSQL packages and no cluster made
    bookworm-pgsql-16       the same with a PostgreSQL of another origin in /usr/local/pgsql-16 and a systemd unit
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import shlex
import tempfile
import typing as t

import binaries
from machine import REPOSITORY, LabError, engine, labels, podman, run, say

RECIPES = pathlib.Path(__file__).resolve().parent / "images"
SUITES = ("bullseye", "bookworm", "trixie")
PACKAGES = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "sudo",
    "python3",
    "iproute2",
    "procps",
    "ca-certificates",
    "tzdata",
]
# How this machine reaches packages, as far as a host has to do the same.
APT_SETTINGS = re.compile(r"^Acquire::(https?::|Retries|Check-Valid-Until|Check-Date|ForceIPv[46])")
CERTIFICATES = pathlib.Path("/usr/local/share/ca-certificates")


class Recipe(t.NamedTuple):
    """What one layer is made of."""

    name: str
    parent: str | None
    script: str
    inputs: dict[str, str]

    def tag(self) -> str:
        """Return the tag that names this very content."""
        parent = recipe(self.parent).tag() if self.parent else ""
        content = json.dumps([self.name, parent, self.script, self.inputs], sort_keys=True)
        return f"{REPOSITORY}:{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def recipe(name: str) -> Recipe:
    """Return what an image's name stands for."""
    suite, rest = (name.split("-", 1) + [""])[:2]
    if suite not in SUITES:
        raise LabError(f"image {name}: no recipe for the suite {suite!r}; there are {', '.join(SUITES)}")
    if not rest:
        inputs = {
            "sources": sources_list(suite),
            "settings": apt_settings(),
            "certificates": certificates(),
            "packages": " ".join(PACKAGES),
            "image": os.environ.get("PGTANDEM_LAB_IMAGE", ""),
        }
        return Recipe(name, None, (RECIPES / "host.sh").read_text(), inputs)
    if rest == "postgresql":
        return Recipe(name, suite, (RECIPES / "postgresql.sh").read_text(), {})
    match = re.fullmatch(r"pgsql-(\d+)", rest)
    if match:
        version = match.group(1)
        return Recipe(
            name, suite, (RECIPES / "pgsql.sh").read_text(), {"version": version, **binaries.described(version)}
        )
    raise LabError(f"image {name}: no recipe ends with {rest!r}")


# --- how this machine reaches packages ------------------------------------------------------------------------------


def sources_list(suite: str) -> str:
    """Return apt sources for a suite, from the places that this machine's own come from; '' for mmdebstrap's own."""
    shape = "$(REPO_URI)|$(LABEL)|$(ORIGIN)|$(CODENAME)|$(SIGNED_BY)"
    done = run(["apt-get", "indextargets", "--format", shape, "Created-By: Packages"], check=False)
    lines: dict[str, None] = {}
    for line in done.stdout.splitlines():
        address, label, origin, codename, _signed = (line.split("|") + [""] * 5)[:5]
        if origin != "Debian" or not address.startswith(("http://", "https://", "mirror+")):
            continue
        if label == "Debian-Security":
            lines[f"deb {address} {suite}-security main"] = None
        elif "-" not in codename:
            lines[f"deb {address} {suite} main"] = None
            lines[f"deb {address} {suite}-updates main"] = None
    return "\n".join(lines) + "\n" if lines else ""


def apt_settings() -> str:
    """Return the settings by which this machine's apt gets through to its sources (a proxy, for example)."""
    dump = run(["apt-config", "dump"], check=False).stdout.splitlines()
    return "".join(f"{line}\n" for line in dump if APT_SETTINGS.match(line) and not line.endswith(' "";'))


def certificates() -> str:
    """Return the certificate authorities that this machine trusts beside Debian's."""
    found = sorted(CERTIFICATES.rglob("*.crt")) if CERTIFICATES.is_dir() else []
    return "\n".join(path.read_text().strip() + "\n" for path in found)


# --- building -------------------------------------------------------------------------------------------------------


def exists(tag: str) -> bool:
    """Return whether podman has the image."""
    return run(["podman", "image", "exists", tag], check=False).returncode == 0


def ensure(name: str, *, again: bool = False) -> str:
    """Return the tag of an image, built where it is not there."""
    wanted = recipe(name)
    tag = wanted.tag()
    if exists(tag) and not again:
        return tag
    if wanted.parent is None:
        if wanted.inputs["image"]:
            from_registry(wanted, tag)
        else:
            from_packages(wanted, tag)
    else:
        layer(wanted, ensure(wanted.parent), tag)
    say(f"image {name}: ready")
    return tag


def from_packages(wanted: Recipe, tag: str) -> None:
    """Make a host from Debian's packages alone."""
    say(f"image {wanted.name}: from Debian's packages")
    with tempfile.TemporaryDirectory(prefix="pgtandem-image-") as directory:
        place = pathlib.Path(directory)
        archive = place / "host.tar"
        setup = place / "setup"
        setup.mkdir()
        write_setup(wanted, setup)
        argv = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--include=" + wanted.inputs["packages"].replace(" ", ","),
        ]
        argv += [f"--aptopt={line}" for line in wanted.inputs["settings"].splitlines()]
        argv += [f"--customize-hook=copy-in {shlex.quote(str(setup))} /tmp"]
        argv += ['--customize-hook=chroot "$1" /bin/sh /tmp/setup/host.sh', '--customize-hook=rm -r "$1/tmp/setup"']
        argv += [wanted.name, str(archive)]
        if wanted.inputs["sources"]:
            run([*argv, "-"], stdin=wanted.inputs["sources"])
        else:
            run(argv)
        run(["podman", "import", "--quiet", str(archive), tag])


def from_registry(wanted: Recipe, tag: str) -> None:
    """Make a host from an image that somebody else made: a Debian one, in which the missing packages are installed."""
    image = wanted.inputs["image"].replace("SUITE", wanted.name)
    say(f"image {wanted.name}: from {image}")
    run(["podman", "pull", "--quiet", image])
    run(["podman", "tag", image, f"{REPOSITORY}:{wanted.name}-base"])
    with tempfile.TemporaryDirectory(prefix="pgtandem-image-") as directory:
        write_setup(wanted, pathlib.Path(directory))
        script = (
            "set -e; export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; "
            f"apt-get install -y -qq --no-install-recommends {wanted.inputs['packages']}; sh /tmp/setup/host.sh"
        )
        in_container(image, tag, script, f"{directory}:/tmp/setup:ro")


def write_setup(wanted: Recipe, directory: pathlib.Path) -> None:
    """Lay out what host.sh works on."""
    (directory / "host.sh").write_text(wanted.script)
    (directory / "apt.conf").write_text(wanted.inputs["settings"])
    (directory / "ca.pem").write_text(wanted.inputs["certificates"])


def layer(wanted: Recipe, parent: str, tag: str) -> None:
    """Make an image from another one by a script that runs in it."""
    say(f"image {wanted.name}: on top of {wanted.parent}")
    version = wanted.inputs.get("version")
    if version is None:
        in_container(parent, tag, wanted.script)
        return
    tree = binaries.ensure(version)
    in_container(parent, tag, f"version={version}\n{wanted.script}", f"{tree}:/mnt:ro")


def in_container(parent: str, tag: str, script: str, *volumes: str) -> None:
    """Run a script in a container and keep what it leaves."""
    name = f"pgtandem-build-{os.getpid()}"
    arguments = [argument for volume in volumes for argument in ("--volume", volume)]
    try:
        podman(
            *(
                "run",
                "--interactive",
                "--name",
                name,
                *labels(),
                *engine().run_flags,
                *arguments,
                parent,
                "/bin/sh",
                "-s",
            ),
            stdin=script,
        )
        podman("commit", "--quiet", "--change", "CMD /sbin/init", name, tag)
    finally:
        podman("rm", "--force", name, check=False)


def prune() -> None:
    """Remove the images that no recipe of this checkout makes any more and no host uses."""
    for tag in run(["podman", "images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY]).stdout.split():
        name = tag.rpartition(":")[2].rpartition("-")[0]
        try:
            current = recipe(name).tag() == tag
        except LabError:
            current = False
        if not current and run(["podman", "rmi", tag], check=False).returncode == 0:
            say(f"removed {tag}")
