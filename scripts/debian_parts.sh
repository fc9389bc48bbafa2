#!/usr/bin/env bash
# What some tests need from Debian: the programs of PostgreSQL 15, which has TLS, and PgBouncer. Tests that need them
# start servers of their own, with their own data; here none is started.
#
# Usage: debian_parts.sh [chromium]    with chromium, the browser instead
set -euo pipefail

needed=()
case ${1:-servers} in
    servers)
        [[ -x /usr/lib/postgresql/15/bin/postgres ]] || needed+=(postgresql-15)
        [[ -x /usr/sbin/pgbouncer ]] || needed+=(pgbouncer)
        ;;
    chromium)
        # A browser that is there does, whoever made it.
        command -v chromium chromium-browser google-chrome >/dev/null || needed+=(chromium)
        ;;
    *) echo "Usage: debian_parts.sh [chromium]" >&2 && exit 2 ;;
esac
((${#needed[@]})) || exit 0

skip() {
    echo "debian_parts: $1 absent (${needed[*]}): the tests that need them are skipped" >&2
    exit 0
}

command -v apt-get >/dev/null || skip "apt-get is"
((EUID == 0)) || skip "root's rights are"

export DEBIAN_FRONTEND=noninteractive
# Debian makes and starts a cluster with a new server, and starts a new pooler, unless it is told otherwise.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
if [[ ! -e /etc/postgresql-common/createcluster.conf ]]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
fi

install_needed() { apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold "${needed[@]}" >/dev/null 2>&1; }

install_needed || { apt-get update >/dev/null 2>&1 && install_needed; } || skip "packages that can be installed are"
echo "debian_parts: installed ${needed[*]}" >&2
