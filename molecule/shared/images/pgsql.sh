#!/bin/sh
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Adds a PostgreSQL of another origin than Debian's, as an administrator would who built it: a tree of its own below
# /usr/local, an account, a place for the data and a systemd unit. No cluster is made. Runs inside the host's image with
# the tree in /mnt and $version set.
set -eu
export DEBIAN_FRONTEND=noninteractive
: "${version:?}"
prefix=/usr/local/pgsql-$version
apt-get update -qq
# shellcheck disable=SC2046
apt-get install -y -qq --no-install-recommends python3-psycopg2 $(cat /mnt/packages) >/dev/null
getent passwd postgres >/dev/null ||
    useradd --system --user-group --home-dir /var/lib/pgsql --shell /bin/bash postgres
install -d -o postgres -g postgres -m 0755 /var/lib/pgsql
install -d -o postgres -g postgres -m 0755 "/var/lib/pgsql/$version"
cp -a /mnt/tree "$prefix"
# Debian keeps this one among the server's programs; the server itself is not wanted here.
if [ ! -e "$prefix/bin/pg_controldata" ]; then
    cd /tmp
    apt-get download -qq postgresql-15
    dpkg-deb --fsys-tarfile postgresql-15_*.deb | tar -x -C / ./usr/lib/postgresql/15/bin/pg_controldata
    rm postgresql-15_*.deb
    ln -s /usr/lib/postgresql/15/bin/pg_controldata "$prefix/bin/"
fi
chown -R root:root "$prefix"

# A tree made by another's build looks for its socket elsewhere; this is where Debian's clients look.
printf 'd /run/postgresql 2775 postgres postgres -\n' >/etc/tmpfiles.d/pgsql.conf

cat >"/etc/systemd/system/pgsql-$version.service" <<UNIT
[Unit]
Description=PostgreSQL $version below $prefix
After=network-online.target

[Service]
Type=forking
User=postgres
Environment=LC_ALL=C.UTF-8
ExecStart=$prefix/bin/pg_ctl start --wait --silent --timeout=120 --pgdata=/var/lib/pgsql/$version/data --log=/var/lib/pgsql/$version/startup.log
ExecStop=$prefix/bin/pg_ctl stop --silent --mode=fast --pgdata=/var/lib/pgsql/$version/data
ExecReload=$prefix/bin/pg_ctl reload --silent --pgdata=/var/lib/pgsql/$version/data
PIDFile=/var/lib/pgsql/$version/data/postmaster.pid
KillMode=mixed
KillSignal=SIGINT
TimeoutSec=150

[Install]
WantedBy=multi-user.target
UNIT
su postgres -c "$prefix/bin/postgres --version"
apt-get clean
