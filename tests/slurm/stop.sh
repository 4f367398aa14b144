#!/usr/bin/env bash
# Ends the test cluster of start.sh and takes back what that changed in /etc. `--wipe` also deletes
# its folder, the accounting database with it. The packages stay.
set -euo pipefail
state=${E2MC_SLURM:-/tmp/e2mc-slurm}
export SLURM_CONF="$state/etc/slurm.conf"

stop() { # NAME PROCESS
  local file="$state/run/$1.pid" pid
  pid=$(cat "$file" 2>/dev/null) || return 0
  rm -f "$file"
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || return 0
  echo "test cluster: stopping $1"
  kill "$pid"
  for _ in $(seq 50); do
    [ -e "/proc/$pid/exe" ] || return 0 # a zombie has none
    sleep 0.2
  done
  kill -9 "$pid"
}

if [ -e "$state/run/slurmctld.pid" ]; then
  timeout 10 scancel --user=root --quiet || true
  sleep 1
fi
for file in "$state"/run/slurmd-*.pid; do
  stop "$(basename "$file" .pid)" slurmd
done
for name in slurmctld slurmdbd mariadbd munged; do
  stop $name $name
done
[ "$(readlink /etc/slurm/slurm.conf)" != "$SLURM_CONF" ] || rm /etc/slurm/slurm.conf
# /etc/hosts may be a mount of its own (in a container), so it is rewritten, not replaced.
hosts=$(grep -v '# e2mc test cluster$' /etc/hosts) && echo "$hosts" >/etc/hosts
[ "${1:-}" != --wipe ] || rm -rf "$state"
