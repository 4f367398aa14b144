#!/usr/bin/env bash
# A real Slurm with accounting on one Debian or Ubuntu machine: nodes c1 c2, and g1 g2 with two
# pretended GPUs each. Root, no systemd. Installs what is missing, starts what is not running;
# everything lies under $E2MC_SLURM. `stop.sh` ends it. Exit status 77: not on this machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
state=${E2MC_SLURM:-/tmp/e2mc-slurm}
nodes=(c1 c2 g1 g2)

say() { echo "test cluster: $*"; }
fail() { say "$*" >&2; exit 1; }
cannot() { say "$*" >&2; exit 77; }

until_ok() { # SECONDS COMMAND...
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "gave up waiting for: $* (logs: $state/log)"
    sleep 0.2
  done
}

running() { # NAME PROCESS: the recorded pid is alive and not somebody else's
  local pid; pid=$(cat "$state/run/$1.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]
}

install_packages() {
  local missing=() pair
  for pair in munged:munge slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client \
    slurmdbd:slurmdbd mariadbd:mariadb-server; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || cannot "needs ${missing[*]}, and there is no apt-get to install them"
  say "installing ${missing[*]}"
  # The packages' own services stay down: this policy is asked before any is started.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
  fi
  { apt-get -o Acquire::Retries=0 update -qq && DEBIAN_FRONTEND=noninteractive \
    apt-get -o Acquire::Retries=0 install -y -qq --no-install-recommends "${missing[@]}"; } >"$state/log/apt.log" 2>&1 ||
    cannot "apt-get could not install ${missing[*]}: $(tail -n 1 "$state/log/apt.log")"
}

configure() {
  local host version signal cgroup name i
  host=$(hostname -s)
  version=$(slurmctld -V | sed 's/.* \([0-9]*\)\.\([0-9]*\).*/\1\2/')
  signal=SlurmctldParameters=preempt_send_user_signal
  ((version < 2302)) || signal=PreemptParameters=send_user_signal
  cgroup=IgnoreSystemd=yes # the daemons of 23.11 look for cgroups, used or not
  ((version >= 2302)) || cgroup=
  ((version < 2405)) || cgroup=CgroupPlugin=disabled
  echo "$cgroup" >"$state/etc/cgroup.conf"
  for name in slurm slurmdbd gres; do
    sed -e "s|@STATE@|$state|; s|@HOST@|$host|; s|@PREEMPT_SIGNAL@|$signal|" \
      "$here/etc/$name.conf.in" >"$state/etc/$name.conf"
  done
  chmod 600 "$state/etc/slurmdbd.conf"
  for i in 0 1; do
    [ -e "$state/dev/gpu$i" ] || mknod "$state/dev/gpu$i" c 1 3
  done
  # torch.distributed looks the first node up by name.
  for name in "${nodes[@]}"; do
    getent hosts "$name" >/dev/null || echo "127.0.0.1 $name # e2mc test cluster" >>/etc/hosts
  done
  # Programs that drop SLURM_* variables (submitit does) must find the cluster as well.
  mkdir -p /etc/slurm
  ln -sfn "$state/etc/slurm.conf" /etc/slurm/slurm.conf
}

start_munge() {
  running munged munged && return
  [ -s "$state/etc/munge.key" ] || (umask 077; head -c 1024 /dev/urandom >"$state/etc/munge.key")
  rm -f "$state/run/munge.socket"*
  munged --force --key-file="$state/etc/munge.key" --socket="$state/run/munge.socket" \
    --pid-file="$state/run/munged.pid" --log-file="$state/log/munged.log" \
    --seed-file="$state/run/munged.seed" 2>>"$state/log/munged.log"
  until_ok 10 munge -S "$state/run/munge.socket" -n
}

start_database() {
  local socket="$state/database/socket"
  if ! running mariadbd mariadbd; then
    say "starting mariadbd"
    chown mysql: "$state/database"
    [ -d "$state/database/mysql" ] || mariadb-install-db --no-defaults --user=mysql \
      --datadir="$state/database" --auth-root-authentication-method=socket --skip-test-db \
      >"$state/log/mariadb-install.log" 2>&1
    setsid mariadbd --no-defaults --user=mysql --datadir="$state/database" --socket="$socket" \
      --pid-file="$state/database/pid" --bind-address=127.0.0.1 --port=13306 --performance-schema=OFF \
      --innodb-buffer-pool-size=64M --innodb-log-file-size=32M --innodb-lock-wait-timeout=900 \
      >>"$state/log/mariadbd.log" 2>&1 </dev/null &
    echo $! >"$state/run/mariadbd.pid"
    until_ok 30 mariadb-admin --no-defaults --socket="$socket" ping
    mariadb --no-defaults --socket="$socket" -e "
      CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
      GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';"
  fi
  if ! running slurmdbd slurmdbd; then
    say "starting slurmdbd"
    slurmdbd 2>>"$state/log/slurmdbd.log"
    until_ok 30 sacctmgr -n show cluster
  fi
  sacctmgr -n show cluster format=cluster | grep -qw e2mc || sacctmgr -i add cluster e2mc >/dev/null
  sacctmgr -n show user root format=user | grep -qw root || {
    sacctmgr -i add account e2mc Description=e2mc Organization=e2mc
    sacctmgr -i add user root account=e2mc DefaultAccount=e2mc
  } >/dev/null
}

start_controller_and_nodes() {
  local node
  running slurmctld slurmctld || { say "starting slurmctld"; slurmctld 2>>"$state/log/slurmctld.log"; }
  until_ok 20 scontrol ping
  for node in "${nodes[@]}"; do
    mkdir -p "$state/spool/$node"
    running "slurmd-$node" slurmd || { say "starting slurmd $node"; slurmd -N "$node" 2>>"$state/log/slurmd-$node.log"; }
  done
  until_ok 30 all_up
}

all_up() {
  [ "$(sinfo -h -N -o '%N %t' | sort -u | grep -cE ' (idle|mix|alloc|comp)$')" = ${#nodes[@]} ]
}

[ "$(id -u)" = 0 ] || cannot "needs root"
[ -e /etc/debian_version ] || cannot "needs Debian or Ubuntu"
if [ -e /etc/slurm/slurm.conf ] || [ -L /etc/slurm/slurm.conf ]; then
  [ "$(readlink /etc/slurm/slurm.conf)" = "$state/etc/slurm.conf" ] ||
    cannot "/etc/slurm/slurm.conf belongs to another Slurm, which is left alone"
fi
export SLURM_CONF="$state/etc/slurm.conf"
mkdir -p "$state"/{etc,run,log,controller,spool,database,dev}
install_packages
configure
start_munge
start_database
start_controller_and_nodes
say "$(slurmctld -V) is up; stop it with tests/slurm/stop.sh"
echo "export SLURM_CONF=$SLURM_CONF"
