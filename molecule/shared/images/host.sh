#!/bin/sh
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a freshly installed Debian into a host of the lab. Runs inside it, with its inputs in /tmp/setup.
set -eu

# What this machine needs to get through to its packages, a host on it needs too.
if [ -s /tmp/setup/apt.conf ]; then
    cp /tmp/setup/apt.conf /etc/apt/apt.conf.d/50lab
fi
if [ -s /tmp/setup/ca.pem ]; then
    # one certificate a file, as update-ca-certificates wants it
    awk '/BEGIN CERTIFICATE/ { n++ } { print > ("/usr/local/share/ca-certificates/lab-" n ".crt") }' /tmp/setup/ca.pem
    update-ca-certificates >/dev/null 2>&1
fi

# The account that Ansible comes in by: no password, no root, sudo without a question.
useradd --create-home --shell /bin/bash ansible
echo 'ansible ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/ansible
chmod 0440 /etc/sudoers.d/ansible

# A host has keys and an identity of its own, made at its first start.
rm -f /etc/ssh/ssh_host_*
mkdir -p /etc/systemd/system/ssh.service.d
cat >/etc/systemd/system/ssh.service.d/keys.conf <<'UNIT'
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
UNIT
cat >/etc/ssh/sshd_config.d/lab.conf <<'CONF'
PasswordAuthentication no
PermitRootLogin no
UseDNS no
# many Ansible forks and a test suite share one connection
MaxSessions 50
MaxStartups 50:30:100
CONF
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id
systemctl enable ssh.service >/dev/null 2>&1

# A locale as an installed system has it: without one, clusters are made in SQL_ASCII.
echo 'LANG=C.UTF-8' >/etc/default/locale

# Nothing of a container's has these, and each would count as a failed unit.
systemctl mask --quiet getty.target console-getty.service systemd-logind.service systemd-udevd.service \
    systemd-udev-trigger.service systemd-networkd-wait-online.service systemd-resolved.service \
    systemd-firstboot.service sys-kernel-debug.mount sys-kernel-tracing.mount systemd-binfmt.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
