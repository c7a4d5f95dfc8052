#!/bin/sh
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The limit: nothing but PostgreSQL's own programs, one login a host, no question asked.
#     bare.sh first SSH_CONFIG ADDRESS_OF_PRIMARY ADDRESS_OF_STANDBY     from nothing to streaming
#     bare.sh again SSH_CONFIG ADDRESS_OF_PRIMARY ADDRESS_OF_STANDBY     see that it streams
set -eu
mode=$1 config=$2 primary=$3 standby=$4
as_postgres() { ssh -F "$config" "$1" sudo -u postgres PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin sh -eu; }

if [ "$mode" = first ]; then
    as_postgres "$primary" <<EOF
cd /tmp
initdb --data-checksums --encoding=UTF8 --locale=C.UTF-8 -D /var/lib/postgresql/bare >/dev/null
echo "host replication replica $standby/32 scram-sha-256" >>/var/lib/postgresql/bare/pg_hba.conf
printf "port = 5451\nlisten_addresses = '*'\nmax_connections = 60\nshared_buffers = 32MB\n" >>/var/lib/postgresql/bare/postgresql.conf
pg_ctl -s -w -l /var/lib/postgresql/bare.log -D /var/lib/postgresql/bare start
psql -qXAt -p 5451 -d postgres >/dev/null -c "CREATE ROLE replica LOGIN REPLICATION PASSWORD 'bench'" \
    -c "SELECT pg_create_physical_replication_slot('standby')"
EOF
    as_postgres "$standby" <<EOF
cd /tmp
umask 077
echo "$primary:5451:replication:replica:bench" >/var/lib/postgresql/bare.pgpass
export PGPASSFILE=/var/lib/postgresql/bare.pgpass
pg_basebackup --checkpoint=fast --wal-method=stream --write-recovery-conf --slot=standby \
    -d "host=$primary port=5451 user=replica passfile=/var/lib/postgresql/bare.pgpass" -D /var/lib/postgresql/bare
pg_ctl -s -w -l /var/lib/postgresql/bare.log -D /var/lib/postgresql/bare start
until [ "\$(psql -qXAt -p 5451 -d postgres -c 'SELECT status FROM pg_stat_wal_receiver')" = streaming ]; do :; done
EOF
else
    [ "$(echo "psql -qXAt -p 5451 -d postgres -c 'SELECT state FROM pg_stat_replication'" | as_postgres "$primary")" = streaming ]
    [ "$(echo "psql -qXAt -p 5451 -d postgres -c 'SELECT status FROM pg_stat_wal_receiver'" | as_postgres "$standby")" = streaming ]
fi
