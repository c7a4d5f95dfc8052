# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that behave like real ones, on one machine.

A host is a podman container with systemd as PID 1, sshd and an own address. Its image is made from Debian's packages,
so no container registry is needed. What hosts there are is read from a scenario's inventory: `ansible_host` gives the
address and `lab_image` the image; two inventory hosts with one address share one container.

Needs nothing but Python's standard library. See molecule/README.md.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import ipaddress
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing as t

import images
from machine import (
    CHECKOUT,
    LAB_DIRECTORY,
    OWNER_LABEL,
    REPOSITORY,
    RUN_LABEL,
    LabError,
    engine,
    ensure_tools,
    labels,
    machine_lock,
    podman,
    run,
    say,
    start_trial,
)

PREFIX = os.environ.get("PGTANDEM_LAB_NAME") or "pgtandem"
SCENARIO_LABEL = "pgtandem.lab.scenario"
#: The name that `cut` and `heal` have for this machine.
CONTROLLER = "controller"
READY_SECONDS = 240
SLOW_UNIT_SECONDS = 30


class Host(t.NamedTuple):
    """One container."""

    name: str
    address: str
    image: str
    tmpfs: tuple[str, ...]
    #: Disks of its own, that last as long as the host: where they are mounted, and their size.
    disks: tuple[tuple[str, str], ...] = ()


# --- what a scenario asks for ---------------------------------------------------------------------------------------


def plain(value: dict[str, t.Any]) -> t.Any:
    """Return what ansible-inventory wraps where a value must not be templated."""
    return value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else value


class Scenario:
    """A scenario as its inventory describes it, and what belongs to it on this machine."""

    def __init__(self, key: str, inventories: list[str]) -> None:
        """Take the scenario's key (its name, and for a matrix what was picked of it) and its inventory sources."""
        self.key = key
        self.inventories = inventories
        self.directory = LAB_DIRECTORY / key
        self.network = f"{PREFIX}-{key}"
        self.ssh_config = self.directory / "ssh_config"

    def container(self, host: str) -> str:
        """Return a host's container name."""
        return f"{PREFIX}-{self.key}-{host}"

    @functools.cached_property
    def inventory(self) -> dict[str, t.Any]:
        """Return what `ansible-inventory` makes of the inventory."""
        tool = shutil.which("ansible-inventory") or str(CHECKOUT / ".venv/bin/ansible-inventory")
        argv = [tool, "--list"]
        for source in self.inventories:
            argv += ["--inventory", source]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise LabError(f"the inventory cannot be read: {done.stderr.strip()}")
        return t.cast("dict[str, t.Any]", json.loads(done.stdout, object_hook=plain))

    @functools.cached_property
    def hosts(self) -> list[Host]:
        """Return the containers that the inventory asks for."""
        found: dict[str, Host] = {}
        for name, values in sorted(self.inventory["_meta"]["hostvars"].items()):
            address = values.get("ansible_host")
            if not address or "lab_image" not in values or address in found:
                continue
            found[address] = Host(
                name=values.get("lab_name", name),
                address=str(ipaddress.IPv4Address(address)),
                image=values["lab_image"],
                tmpfs=tuple(f"{path}:{how}" for path, how in values.get("lab_tmpfs", {}).items()),
                disks=tuple(values.get("lab_disks", {}).items()),
            )
        if not found:
            raise LabError(f"no host of {self.inventories} has both ansible_host and lab_image")
        return list(found.values())

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """Return inventory name -> container, for the faults."""
        by_address = {host.address: self.container(host.name) for host in self.hosts}
        hostvars = self.inventory["_meta"]["hostvars"]
        return {
            name: by_address[v["ansible_host"]] for name, v in hostvars.items() if v.get("ansible_host") in by_address
        }

    def address(self, name: str) -> str:
        """Return an inventory host's address; the controller's is the network's gateway."""
        if name == CONTROLLER:
            return str(self.subnet[1])
        return t.cast(str, self.inventory["_meta"]["hostvars"][name]["ansible_host"])

    @functools.cached_property
    def subnet(self) -> ipaddress.IPv4Network:
        """Return the /24 that all hosts are in."""
        subnets = {ipaddress.IPv4Network(f"{host.address}/24", strict=False) for host in self.hosts}
        if len(subnets) != 1:
            raise LabError(f"the hosts of {self.key} are in more than one /24: {sorted(map(str, subnets))}")
        return subnets.pop()


# --- a machine of another suite --------------------------------------------------------------------------------------


def inside(image: str, command: list[str]) -> int:
    """Run a command in a container of an image, with this checkout, network and settings of pip; returns its code."""
    with machine_lock("images"):
        tag = images.ensure(image)
    arguments = ["--network=host", f"--volume={CHECKOUT}:{CHECKOUT}", f"--workdir={CHECKOUT}"]
    for name in sorted(os.environ):
        if (
            name.startswith("PIP_")
            or name.lower().endswith("_proxy")
            or name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
        ):
            arguments.append(f"--env={name}")
    for path in ("/etc/pip.conf", os.environ.get("PIP_CONFIG_FILE", ""), os.environ.get("PIP_FIND_LINKS", "")):
        if path and os.path.exists(path):
            arguments.append(f"--volume={path}:{path}:ro")
    argv = ["run", "--rm", *labels(), *engine().run_flags, *arguments, tag, *command]
    return podman(*argv, check=False, quiet=False).returncode


# --- up and down ----------------------------------------------------------------------------------------------------


def owner_of(kind: str, name: str) -> str | None:
    """Return which checkout made a container or network; '' where it was not the lab, None where there is none."""
    done = run(["podman", kind, "inspect", name], check=False)
    if done.returncode:
        return None
    facts = json.loads(done.stdout)[0]
    labels = facts.get("Config", facts).get("Labels") or facts.get("labels") or {}
    return t.cast(str, labels.get(OWNER_LABEL, ""))


def clear(name: str) -> None:
    """Remove what a run of tests made and did not remove."""
    filters = ["--filter", f"label={RUN_LABEL}={name}", "--filter", f"label={OWNER_LABEL}={CHECKOUT}"]
    containers = podman("ps", "--all", "--quiet", *filters).stdout.split()
    if containers:
        podman("rm", "--force", "--time", "0", "--volumes", *containers)
    remove_disks(*filters)
    networks = podman("network", "ls", "--quiet", *filters[:2]).stdout.split()
    if networks:
        podman("network", "rm", "--force", *networks)
    (LAB_DIRECTORY / "runs" / name).unlink(missing_ok=True)
    if containers or networks:
        say(f"removed {len(containers)} hosts and {len(networks)} networks that the run {name} left")


def try_host() -> None:
    """See whether a host with systemd starts on a network of its own; nothing stays."""
    if not shutil.which("podman"):
        raise LabError("podman is not installed")
    how = engine()
    network = f"{PREFIX}-try-{os.getpid()}"
    with machine_lock("network"):
        podman("network", "create", *labels(), network)
    try:
        done = start_trial(how, network)
    finally:
        podman("network", "rm", "--force", network, check=False)
    if done.returncode:
        raise LabError(f"a host with systemd does not start on a network: {(done.stderr + done.stdout).strip()[-300:]}")


def check_ownership(scenario: Scenario) -> None:
    """Refuse to touch what another checkout brought up."""
    things = [("network", scenario.network)]
    things += [("container", scenario.container(host.name)) for host in scenario.hosts]
    for kind, name in things:
        owner = owner_of(kind, name)
        if owner is not None and owner != str(CHECKOUT):
            raise LabError(
                f"{kind} {name} exists already and belongs to {owner or 'something else'}. Destroy it there "
                "(molecule/run SCENARIO destroy), or run here beside it with PGTANDEM_LAB_NAME and PGTANDEM_LAB_NET "
                "set (molecule/README.md)."
            )


def check_subnet(scenario: Scenario) -> None:
    """Stop before a route of this machine is hidden by the lab's."""
    clash = []
    for route in json.loads(run(["ip", "-json", "-4", "route", "show"]).stdout or "[]"):
        if route["dst"] == "default":
            continue
        if ipaddress.IPv4Network(route["dst"], strict=False).overlaps(scenario.subnet):
            clash.append(f"a route to {route['dst']} by {route.get('dev', 'no device')}")
    for network in json.loads(run(["podman", "network", "ls", "--format", "json"]).stdout or "[]"):
        name = network.get("name") or network.get("Name")
        for subnet in network.get("subnets") or []:
            if ipaddress.ip_network(subnet["subnet"], strict=False).overlaps(scenario.subnet):
                clash.append(f"podman's network {name} ({subnet['subnet']})")
    if clash:
        raise LabError(
            f"the lab wants {scenario.subnet} for {scenario.key}, and this machine uses it already: "
            f"{', '.join(clash)}. Free it, or set PGTANDEM_LAB_NET to two other octets (default 10.12)."
        )


def up(scenario: Scenario) -> None:
    """Bring every host up, ready for Ansible."""
    ensure_tools()
    check_ownership(scenario)
    with machine_lock("images"):
        tags = {name: images.ensure(name) for name in {host.image for host in scenario.hosts}}
    make_key()
    scenario.directory.mkdir(parents=True, exist_ok=True)
    with machine_lock("network"):
        if owner_of("network", scenario.network) is None:
            check_subnet(scenario)
            podman("network", "create", "--subnet", str(scenario.subnet), *labels(), scenario.network)
    for host in scenario.hosts:
        if owner_of("container", scenario.container(host.name)) is None:
            arguments = ["--name", scenario.container(host.name), "--hostname", host.name]
            arguments += ["--network", scenario.network, "--ip", host.address, "--mac-address", hardware_address(host)]
            arguments += [*labels(), "--label", f"{SCENARIO_LABEL}={scenario.key}"]
            arguments += [argument for mount in host.tmpfs for argument in ("--tmpfs", mount)]
            arguments += [f"--volume={make_disk(scenario, host, path, size)}:{path}" for path, size in host.disks]
            podman(
                "run", "--detach", "--systemd=always", *engine().run_flags, *arguments, tags[host.image], "/sbin/init"
            )
        else:
            podman("start", scenario.container(host.name))
    for host in scenario.hosts:
        wait_ready(scenario.container(host.name), host.address)
    write_ssh(scenario)
    say(f"{scenario.key}: " + ", ".join(f"{host.name} {host.address}" for host in scenario.hosts) + " are up")


def make_disk(scenario: Scenario, host: Host, path: str, size: str) -> str:
    """Make a disk, a file that is mounted as long as its host runs; returns the volume's name."""
    name = f"{scenario.container(host.name)}{path.replace('/', '-')}"
    file = scenario.directory / f"{name}.ext4"
    run(["truncate", "--size", size, str(file)])
    run(["mkfs.ext4", "-q", "-F", str(file)])
    owned = [*labels(), "--label", f"{SCENARIO_LABEL}={scenario.key}"]
    podman("volume", "create", *owned, "--opt=type=ext4", f"--opt=device={file}", "--opt=o=loop", name)
    return name


def remove_disks(*filters: str) -> None:
    """Remove the volumes of hosts that are gone."""
    found = podman("volume", "ls", "--quiet", *filters).stdout.split()
    if found:
        podman("volume", "rm", "--force", *found)


def down(scenario: Scenario) -> None:
    """Leave nothing of a scenario but the cached images."""
    if not shutil.which("podman"):
        return
    end_masters(scenario)
    filters = ["--filter", f"label={SCENARIO_LABEL}={scenario.key}", "--filter", f"label={OWNER_LABEL}={CHECKOUT}"]
    found = podman("ps", "--all", "--quiet", *filters).stdout.split()
    if found:
        podman("rm", "--force", "--time", "0", "--volumes", *found)
    remove_disks(*filters)
    if owner_of("network", scenario.network) == str(CHECKOUT):
        podman("network", "rm", "--force", scenario.network)
    shutil.rmtree(scenario.directory, ignore_errors=True)
    say(f"{scenario.key}: {len(found)} hosts are gone")


def hardware_address(host: Host) -> str:
    """Return an address that stays over restarts: with a new one each time, neighbours hold the old one for 20 s."""
    return ":".join(["02", "42", *(f"{octet:02x}" for octet in ipaddress.IPv4Address(host.address).packed)])


def make_key() -> None:
    """Make the lab's own key; nothing of the user's is used."""
    LAB_DIRECTORY.mkdir(exist_ok=True)
    with machine_lock("key"):
        if not (LAB_DIRECTORY / "id_ed25519").exists():
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pgtandem lab", "-f"]
            subprocess.run([*argv, str(LAB_DIRECTORY / "id_ed25519")], check=True, stdin=subprocess.DEVNULL)


def wait_ready(container: str, address: str) -> None:
    """Wait until systemd has started everything and sshd takes connections.

    A unit that is slow to start (a standby that cannot reach its primary, for example) is waited for only so long.
    """
    started = time.monotonic()
    state, reachable = "unknown", False
    while time.monotonic() < started + READY_SECONDS:
        state = podman("exec", container, "systemctl", "is-system-running", check=False).stdout.strip()
        with contextlib.suppress(OSError), socket.create_connection((address, 22), timeout=2):
            reachable = True
        if reachable and (state in ("running", "degraded") or time.monotonic() > started + SLOW_UNIT_SECONDS):
            break
        time.sleep(0.3)
    if not reachable:
        raise LabError(
            f"{container} is not reachable after {READY_SECONDS} s: systemd says {state!r}. A host that stays at "
            "'initializing' beside many others has often found fs.inotify.max_user_instances used up: destroy another "
            "scenario, or raise that limit."
        )
    if state != "running":
        argv = ["systemctl", "--no-pager", "--plain", "--no-legend", "list-units", "--state=failed,activating"]
        units = podman("exec", container, *argv, check=False).stdout.strip()
        say(f"{container} is up, but systemd says {state!r}:\n{units}")


def write_ssh(scenario: Scenario) -> None:
    """Let the lab's key in, and write down the hosts' own keys as they were read from inside: no blind trust."""
    public = (LAB_DIRECTORY / "id_ed25519.pub").read_text()
    known = []
    for host in scenario.hosts:
        install = (
            "umask 077; mkdir -p ~ansible/.ssh; cat > ~ansible/.ssh/authorized_keys; chown -R ansible: ~ansible/.ssh"
        )
        podman("exec", "--interactive", scenario.container(host.name), "sh", "-c", install, stdin=public)
        key = podman("exec", scenario.container(host.name), "cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout.split()
        known.append(f"{host.address},{host.name} {key[0]} {key[1]}\n")
    (scenario.directory / "known_hosts").write_text("".join(known))
    lines = []
    for name in sorted(scenario.names):
        lines += [f"Host {name} {scenario.address(name)}", f"  HostName {scenario.address(name)}"]
    lines += [
        "Host *",
        "  User ansible",
        f'  IdentityFile "{LAB_DIRECTORY / "id_ed25519"}"',
        "  IdentitiesOnly yes",
        f'  UserKnownHostsFile "{scenario.directory / "known_hosts"}"',
        "  StrictHostKeyChecking yes",
        "  HashKnownHosts no",
        "  LogLevel ERROR",
        "  ConnectTimeout 10",
        "  ServerAliveInterval 5",
        "  ServerAliveCountMax 6",
        "  ControlMaster auto",
        "  ControlPersist 300s",
        f"  ControlPath {control_directory()}/%C",
    ]
    scenario.ssh_config.write_text("\n".join(lines) + "\n")


def control_directory() -> pathlib.Path:
    """Return where ssh's sockets are: a short path, since a socket's is limited to some 100 bytes."""
    path = pathlib.Path(tempfile.gettempdir()) / f"pgtandem-ssh-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def end_masters(scenario: Scenario, *names: str) -> None:
    """End ssh's shared connections: one to a host that was restarted hangs instead of failing."""
    if not scenario.ssh_config.exists():
        return
    for name in names or tuple(scenario.names):
        argv = ["ssh", "-F", str(scenario.ssh_config), "-O", "exit", name]
        subprocess.run(argv, capture_output=True, check=False, stdin=subprocess.DEVNULL)


# --- faults ---------------------------------------------------------------------------------------------------------


def in_network_of(container: str, argv: list[str], **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a program of this machine in a host's network namespace; nothing has to be installed inside."""
    pid = podman("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
    if pid == "0":
        raise LabError(f"{container} is not running")
    return run(["nsenter", "--target", pid, "--net", *argv], **options)


def cut(scenario: Scenario, one: str, other: str) -> None:
    """Drop every packet between two hosts, silently, as a broken network does; the controller still reaches both.

    One of the two may be `controller`: then that host goes on and cannot be reached.
    """
    for here, there in ((one, other), (other, one)):
        if here == CONTROLLER:
            continue
        if there == CONTROLLER:
            end_masters(scenario, here)
        table = f"lab_cut_{scenario.address(there).replace('.', '_')}"
        rules = f"""
            table ip {table} {{
                chain input {{ type filter hook input priority -200; ip saddr {scenario.address(there)} drop; }}
                chain output {{ type filter hook output priority -200; ip daddr {scenario.address(there)} drop; }}
            }}"""
        in_network_of(scenario.names[here], ["nft", "--file", "-"], stdin=rules)


def heal(scenario: Scenario, one: str, other: str) -> None:
    """Undo `cut`."""
    for here, there in ((one, other), (other, one)):
        if here == CONTROLLER:
            continue
        table = f"lab_cut_{scenario.address(there).replace('.', '_')}"
        if in_network_of(scenario.names[here], ["nft", "list", "table", "ip", table], check=False).returncode == 0:
            in_network_of(scenario.names[here], ["nft", "delete", "table", "ip", table])


def kill(scenario: Scenario, name: str) -> None:
    """Take the power away: every process of the host is killed at once."""
    end_masters(scenario, name)
    podman("kill", "--signal", "KILL", scenario.names[name])
    podman("wait", scenario.names[name], check=False)


def start(scenario: Scenario, name: str) -> None:
    """Switch a host on that was stopped or killed."""
    podman("start", scenario.names[name])
    wait_ready(scenario.names[name], scenario.address(name))
    say(f"{name}: started")


def stop(scenario: Scenario, name: str) -> None:
    """Shut a host down in order."""
    end_masters(scenario, name)
    podman("stop", "--time", "60", scenario.names[name])
    say(f"{name}: stopped")


def restart(scenario: Scenario, names: list[str]) -> None:
    """Shut hosts down in order and switch them on again, one after the other; once where two names are one host."""
    for name in dict.fromkeys(names):
        if name != next(other for other in names if scenario.names[other] == scenario.names[name]):
            continue
        stop(scenario, name)
        start(scenario, name)


def fill(scenario: Scenario, name: str, path: str, leave: int) -> None:
    """Fill the file system that a path is on, up to some bytes."""
    script = (
        'free=$(df --output=avail --block-size=1 "$1" | tail -n 1); size=$((free - $2)); '
        '[ "$size" -le 0 ] || fallocate --length "$size" "$1/lab-ballast" || '
        'head --bytes "$size" /dev/zero > "$1/lab-ballast"; df --output=avail --block-size=1 "$1" | tail -n 1'
    )
    left = podman("exec", scenario.names[name], "sh", "-c", script, "sh", path, str(leave)).stdout.strip()
    say(f"{name}: {left} bytes are left on {path}")


def empty(scenario: Scenario, name: str, path: str) -> None:
    """Undo `fill`."""
    podman("exec", scenario.names[name], "rm", "-f", f"{path}/lab-ballast")


# --- command line ---------------------------------------------------------------------------------------------------


def login(scenario: Scenario, name: str, command: list[str]) -> t.NoReturn:
    """Become an ssh to a host."""
    os.execvp("ssh", ["ssh", "-F", str(scenario.ssh_config), name, *command])


def main() -> None:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(description="The lab's hosts; see molecule/README.md.")
    parser.add_argument(
        "--scenario", default=os.environ.get("PGTANDEM_LAB_SCENARIO"), help="key, such as default or versions-14"
    )
    parser.add_argument("--inventory", action="append", default=None, help="inventory source, may be repeated")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="bring all hosts up")
    verbs.add_parser("down", help="remove all hosts")
    verbs.add_parser("list", help="what the lab has on this machine")
    image = verbs.add_parser("image", help="build images")
    image.add_argument("names", nargs="+", metavar="IMAGE")
    image.add_argument("--again", action="store_true", help="even where it is there")
    within = verbs.add_parser("inside", help="run a command in a container of an image, with this checkout")
    within.add_argument("image")
    within.add_argument("command", nargs=argparse.REMAINDER)
    clearing = verbs.add_parser("clear", help="remove what a run of tests left")
    clearing.add_argument("run")
    verbs.add_parser("try", help="see whether hosts can run on this machine")
    verbs.add_parser("prune", help="remove the lab's images that no host uses")
    for verb, text in (("cut", "drop the packets between two hosts"), ("heal", "undo cut")):
        between = verbs.add_parser(verb, help=text)
        between.add_argument("one")
        between.add_argument("other")
    for verb in ("kill", "start", "stop"):
        verbs.add_parser(verb, help=f"{verb} a host").add_argument("name")
    verbs.add_parser("restart", help="restart hosts in this order").add_argument("names", nargs="+")
    filling = verbs.add_parser("fill", help="fill a disk")
    filling.add_argument("name")
    filling.add_argument("path")
    filling.add_argument("--leave", type=int, default=0, metavar="BYTES")
    emptying = verbs.add_parser("empty", help="undo fill")
    emptying.add_argument("name")
    emptying.add_argument("path")
    entering = verbs.add_parser("ssh", help="log into a host")
    entering.add_argument("name")
    entering.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        act(arguments)
    except LabError as error:
        sys.exit(f"lab: {error}")


def act(arguments: argparse.Namespace) -> None:
    """Do what one command line asks for."""
    if arguments.verb == "image":
        ensure_tools()
        with machine_lock("images"):
            for name in arguments.names:
                print(images.ensure(name, again=arguments.again))
        return
    if arguments.verb == "inside":
        ensure_tools()
        sys.exit(inside(arguments.image, [word for word in arguments.command if word != "--"]))
    if arguments.verb == "clear":
        clear(arguments.run)
        return
    if arguments.verb == "try":
        try_host()
        return
    if arguments.verb == "prune":
        images.prune()
        return
    if arguments.verb == "list":
        shape = "table {{.Names}}\t{{.Status}}\t{{.Networks}}\t{{.Image}}"
        podman("ps", "--all", "--filter", f"label={OWNER_LABEL}", "--format", shape, quiet=False)
        podman("images", "--filter", f"reference={REPOSITORY}", quiet=False)
        return
    if not arguments.scenario:
        raise LabError("name a scenario (--scenario, or PGTANDEM_LAB_SCENARIO)")
    sources = arguments.inventory or os.environ.get("PGTANDEM_LAB_INVENTORY", "").split(":")
    scenario = Scenario(arguments.scenario, [source for source in sources if source])
    verbs: dict[str, t.Callable[[], None]] = collections.OrderedDict(
        up=lambda: up(scenario),
        down=lambda: down(scenario),
        cut=lambda: cut(scenario, arguments.one, arguments.other),
        heal=lambda: heal(scenario, arguments.one, arguments.other),
        kill=lambda: kill(scenario, arguments.name),
        start=lambda: start(scenario, arguments.name),
        stop=lambda: stop(scenario, arguments.name),
        restart=lambda: restart(scenario, arguments.names),
        fill=lambda: fill(scenario, arguments.name, arguments.path, arguments.leave),
        empty=lambda: empty(scenario, arguments.name, arguments.path),
        ssh=lambda: login(scenario, arguments.name, arguments.command),
    )
    verbs[arguments.verb]()


if __name__ == "__main__":
    main()
