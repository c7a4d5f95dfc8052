#!/bin/sh
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Adds Debian's PostgreSQL to a host of the lab and makes no cluster, so that scenarios which do not test the
# installation save its time. Runs inside the host's image. The independent judges are there too.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
# Only this one line: the file also says that a cluster has a conf.d.
sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
apt-get install -y -qq --no-install-recommends postgresql python3-psycopg2 check-postgres check-pgactivity >/dev/null
grep -q '^create_main_cluster = false' /etc/postgresql-common/createcluster.conf
if [ -n "$(pg_lsclusters --no-header)" ]; then
    echo 'a cluster was made, and none should have been' >&2
    exit 1
fi
apt-get clean
